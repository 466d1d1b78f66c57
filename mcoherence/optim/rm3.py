"""RM3: the median of the current and the previous two mini-batch gradients (arXiv 2003.07422)."""

from torch import Tensor

from mcoherence.optim.median import median_of_lists
from mcoherence.optim.rolling import LastThree


class RM3(LastThree):
    """SGD along the coordinate-wise median of the current and the previous two mini-batch gradients.

    The first two steps make no update. Momentum (where allowed) and weight decay enter after the median, and memory is
    taken for two gradients, as well as for a third one during the step. Source: arXiv 2003.07422, RM3::

        optimizer = RM3(model.parameters(), lr=0.1)
        for inputs, labels in mini_batches:
            optimizer.zero_grad()
            cross_entropy(model(inputs), labels).backward()
            optimizer.step()

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = RM3([weight], lr=1.0)
        >>> for gradient in (1.0, 5.0, 2.0):
        ...     weight.grad = torch.tensor([gradient])
        ...     _ = optimizer.step()
        >>> weight.item()  # one update, along the median 2
        -2.0

    Args:
        params: parameters or parameter groups.
        lr: learning rate, positive.
        allow_momentum, momentum, nesterov, weight_decay: see `descent.PlainByDefault`.
    """

    takes_complex = False

    def _combined(self, oldest: list[Tensor], older: list[Tensor], newest: list[Tensor]) -> list[Tensor]:
        return median_of_lists([oldest, older, newest])
