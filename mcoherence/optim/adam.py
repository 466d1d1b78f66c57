"""Adam on the mean gradient of a mini-batch, by torch's own rule (Kingma and Ba, arXiv 1412.6980)."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from mcoherence.optim.descent import Check, EagerOptimizer, number
from mcoherence.optim.torch_step import checked_step


class Adam(EagerOptimizer, torch.optim.Adam):
    """torch.optim.Adam, unchanged in what it computes.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = Adam([weight], lr=0.5)
        >>> weight.grad = torch.tensor([4.0])
        >>> _ = optimizer.step()
        >>> round(weight.item(), 6)  # a first step is as long as the rate
        -0.5

    Args:
        params: parameters or parameter groups.
        lr: learning rate.
        betas: decay rates of the means of the gradient and of its square, both in [0, 1).
        eps: added to the root of the mean square.
        weight_decay: factor of the weights that are added to the gradient.

    Raises:
        ValueError: a value out of its range.
        OptimizerError: the same, as `EagerOptimizer` finds it; at a step, a sparse gradient.
    """

    step = checked_step(torch.optim.Adam.step, lambda group: False)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        # Settings write 0.0 as 0, and torch wants two floats.
        super().__init__(params, lr, (float(betas[0]), float(betas[1])), eps, weight_decay)

    def _checks(self, group: Mapping[str, Any], scheduled: bool) -> Iterator[Check]:
        yield from super()._checks(group, scheduled)
        yield "betas", all(0 <= number(beta) < 1 for beta in group["betas"]), "two numbers in [0, 1)"
        yield "eps", 0 <= number(group["eps"]) < math.inf, "a number of at least 0 that is finite"
