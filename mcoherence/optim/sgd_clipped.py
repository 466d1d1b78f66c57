"""SGD along the mean gradient of a mini-batch, cut down to a greatest norm."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from mcoherence.optim.descent import Closure, OptimizerError, RobustSGD, gradient_or_zero, loss_of, number, trained


class ClippedSGD(RobustSGD):
    """SGD along g * min(1, max_norm / |g|), the norm over all parameters: a control without a median.

    It takes the largest steps away, as medians do, and leaves every direction as it is. Momentum and weight decay enter
    after the cut. Source: Pascanu et al., arXiv 1211.5063.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = ClippedSGD([weight], lr=0.5, max_norm=1.0)
        >>> weight.grad = torch.tensor([4.0])
        >>> _ = optimizer.step()
        >>> round(weight.item(), 4)  # the gradient is cut to 1
        -0.5

    Args:
        params: parameters or parameter groups.
        lr: learning rate, positive.
        max_norm: the greatest norm, positive.
        **settings: momentum, nesterov and weight_decay, see `descent.RobustSGD`.
    """

    def __init__(self, params: Iterable[Any], lr: float, max_norm: float = 1.0, **settings: Any) -> None:
        if not 0 < number(max_norm) < math.inf:
            raise OptimizerError(f"ClippedSGD: found max_norm {max_norm}, expected a positive number that is finite")
        self.max_norm = float(max_norm)
        super().__init__(params, lr, **settings)

    def step(self, closure: Closure | None = None) -> Tensor | None:  # type: ignore[override]
        """One update; returns the closure's loss, or None without a closure.

        Raises:
            OptimizerError: what `EagerOptimizer` asks at every step.
        """
        self._require_steppable()
        loss = loss_of(closure)
        with torch.no_grad():
            reached = [p for group in self.param_groups for p in trained(group) if p.grad is not None]
            if reached:
                gradients = [gradient_or_zero(p) for p in reached]
                factor = (self.max_norm / get_total_norm(gradients)).clamp(max=1.0)
                direction = dict(zip(reached, torch._foreach_mul(gradients, factor), strict=True))
                for group in self.param_groups:
                    own = [p for p in trained(group) if p in direction]
                    self._descend(group, own, [direction[p] for p in own])
        return loss
