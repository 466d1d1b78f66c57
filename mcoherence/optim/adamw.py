"""AdamW, Adam with decoupled weight decay, by torch's own rule (Loshchilov and Hutter, arXiv 1711.05101)."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from mcoherence.optim.descent import Check, EagerOptimizer, number
from mcoherence.optim.torch_step import checked_step


class AdamW(EagerOptimizer, torch.optim.AdamW):
    """torch.optim.AdamW, unchanged in what it computes.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = AdamW([weight], lr=0.5, weight_decay=0.1)
        >>> weight.grad = torch.zeros(1)
        >>> _ = optimizer.step()
        >>> round(weight.item(), 6)  # 1 - 0.5 * 0.1: decay alone
        0.95

    Args:
        params: parameters or parameter groups.
        lr: learning rate.
        betas: decay rates of the means of the gradient and of its square, both in [0, 1).
        eps: added to the root of the mean square.
        weight_decay: the weights shrink by lr times this in every update, beside what the gradients do.

    Raises:
        ValueError: a value out of its range.
        OptimizerError: the same, as `EagerOptimizer` finds it; at a step, a sparse gradient.
    """

    step = checked_step(torch.optim.AdamW.step, lambda group: False)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        # Settings write 0.0 as 0, and torch wants two floats.
        super().__init__(params, lr, (float(betas[0]), float(betas[1])), eps, weight_decay)

    def _checks(self, group: Mapping[str, Any], scheduled: bool) -> Iterator[Check]:
        yield from super()._checks(group, scheduled)
        yield "betas", all(0 <= number(beta) < 1 for beta in group["betas"]), "two numbers in [0, 1)"
        yield "eps", 0 <= number(group["eps"]) < math.inf, "a number of at least 0 that is finite"
