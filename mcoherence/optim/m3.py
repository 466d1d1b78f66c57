"""M3, the median of the mean gradients of the groups of a mini-batch (arXiv 2003.07422)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from mcoherence.optim.groups import Gradients, OverGroups
from mcoherence.optim.median import median_of_lists
from mcoherence.optim.median_of_means import MedianOfMeans


class M3(OverGroups, MedianOfMeans):
    """SGD along the coordinate-wise median of the mean gradients of the groups of one mini-batch.

    Protocol: split the mini-batch into `groups` parts and hand over one closure per part; each clears the gradients,
    computes the mean loss of its part, calls backward and returns that loss::

        def group_loss(part):
            def closure():
                optimizer.zero_grad()
                loss = loss_fn(model(inputs[part]), targets[part])
                loss.backward()
                return loss
            return closure

        mean_loss = optimizer.step([group_loss(part) for part in parts])

    Each part has a forward pass of its own, so batch norm normalises each group by its own statistics: the group
    means are then functions of disjoint examples, which the median of means asks for, and what the released code and
    one group per device do. Running statistics move `groups` times per update.

    A parameter without a gradient in some groups counts as zero there; without one in any it is left out, as in
    torch's SGD. After the step `.grad` holds the median. Momentum (where allowed) and weight decay enter after the
    median. Source: arXiv 2003.07422, M3; for the released code's form see SuccessiveM3.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = M3([weight], lr=1.0)
        >>> def loss_of(slope):
        ...     def closure():
        ...         optimizer.zero_grad()
        ...         loss = (slope * weight).sum()
        ...         loss.backward()
        ...         return loss
        ...     return closure
        >>> _ = optimizer.step([loss_of(slope) for slope in (1.0, 5.0, 2.0)])
        >>> weight.item()  # along the median 2
        -2.0

    Args:
        params: parameters or parameter groups.
        lr: learning rate, positive.
        groups: odd number of groups, at least 3; 3 in the paper.
        allow_momentum, momentum, nesterov, weight_decay: see `descent.PlainByDefault`.
    """

    def _combine(self, parameters: list[Tensor], gradients: Iterable[Gradients]) -> None:
        by_parameter = zip(parameters, zip(*gradients, strict=True), strict=True)
        reached = [(p, parts) for p, parts in by_parameter if any(part is not None for part in parts)]
        if not reached:
            return
        whole = [[torch.zeros_like(p) if part is None else part for part in parts] for p, parts in reached]
        medians = median_of_lists([list(group) for group in zip(*whole, strict=True)])
        for (p, _), median in zip(reached, medians, strict=True):
            p.grad = median
