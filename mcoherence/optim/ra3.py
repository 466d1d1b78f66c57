"""RA3, the control of RM3: the mean of the current and the previous two mini-batch gradients."""

import torch
from torch import Tensor

from mcoherence.optim.rolling import LastThree


class RA3(LastThree):
    """SGD along the mean of the current and the previous two mini-batch gradients: the control of RM3.

    It uses gradients as old as RM3's without a median, and so separates the two. The first two steps make no update;
    momentum (where allowed) and weight decay enter after the mean. Source: released code of arXiv 2003.07422, RA3.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = RA3([weight], lr=1.0)
        >>> for gradient in (1.0, 6.0, 2.0):
        ...     weight.grad = torch.tensor([gradient])
        ...     _ = optimizer.step()
        >>> weight.item()  # one update, along the mean 3
        -3.0

    Args:
        params: parameters or parameter groups.
        lr: learning rate, positive.
        allow_momentum, momentum, nesterov, weight_decay: see `descent.PlainByDefault`.
    """

    def _combined(self, oldest: list[Tensor], older: list[Tensor], newest: list[Tensor]) -> list[Tensor]:
        torch._foreach_add_(oldest, older)
        torch._foreach_add_(oldest, newest)
        torch._foreach_div_(oldest, 3.0)
        return oldest
