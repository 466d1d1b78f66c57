"""SGD with steps as long as M3's: the mean gradient's direction, the norm of the groups' median."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from mcoherence.optim.groups import Gradients, OverGroups
from mcoherence.optim.median import median_of_lists
from mcoherence.optim.median_of_means import MedianOfMeans


class SGDWithM3Norm(OverGroups, MedianOfMeans):
    """SGD along the mean of the groups' gradients, scaled to the norm of their coordinate-wise median.

    The control of M3 for what a median does to the length of a step, apart from its direction: the protocol, the groups
    and the norm are M3's, over all parameters. A zero mean makes no step. Source: this project.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = SGDWithM3Norm([weight], lr=1.0)
        >>> def loss_of(slope):
        ...     def closure():
        ...         optimizer.zero_grad()
        ...         loss = (slope * weight).sum()
        ...         loss.backward()
        ...         return loss
        ...     return closure
        >>> _ = optimizer.step([loss_of(slope) for slope in (1.0, 6.0, 2.0)])
        >>> round(weight.item(), 4)  # along the mean 3, as long as the median 2
        -2.0

    Args:
        params: parameters or parameter groups.
        lr: learning rate, positive.
        groups: odd number of groups, at least 3.
        allow_momentum, momentum, nesterov, weight_decay: see `descent.PlainByDefault`.
    """

    def _combine(self, parameters: list[Tensor], gradients: Iterable[Gradients]) -> None:
        by_parameter = zip(parameters, zip(*gradients, strict=True), strict=True)
        reached = [(p, parts) for p, parts in by_parameter if any(part is not None for part in parts)]
        if not reached:
            return
        whole = [[torch.zeros_like(p) if part is None else part for part in parts] for p, parts in reached]
        means = [torch.stack(parts).mean(dim=0) for parts in whole]
        medians = median_of_lists([list(group) for group in zip(*whole, strict=True)])
        length = get_total_norm(means)
        factor = torch.where(length > 0, get_total_norm(medians) / length, torch.zeros_like(length))
        for (p, _), mean in zip(reached, means, strict=True):
            p.grad = mean.mul_(factor)
