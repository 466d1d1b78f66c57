"""SGD on the mean gradient of a mini-batch, by torch's own rule."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from mcoherence.optim.descent import Check, EagerOptimizer, number
from mcoherence.optim.torch_step import checked_step


class SGD(EagerOptimizer, torch.optim.SGD):
    """torch.optim.SGD, unchanged in what it computes: momentum, Nesterov and weight decay as documented there.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = SGD([weight], lr=0.5)
        >>> weight.grad = torch.tensor([4.0])
        >>> _ = optimizer.step()
        >>> weight.item()
        -2.0

    Raises:
        ValueError: a value out of its range.
        OptimizerError: the same, as `EagerOptimizer` finds it; at a step, a sparse gradient with weight decay, which
            torch does not add up.
    """

    step = checked_step(torch.optim.SGD.step, lambda group: not group["weight_decay"])

    def _checks(self, group: Mapping[str, Any], scheduled: bool) -> Iterator[Check]:
        yield from super()._checks(group, scheduled)
        momentum = number(group["momentum"])
        yield "momentum", 0 <= momentum < math.inf, "a number of at least 0 that is finite"
        yield "dampening", abs(number(group["dampening"])) < math.inf, "a finite number"
        accelerated = momentum > 0 and group["dampening"] == 0
        yield "nesterov", accelerated or not group["nesterov"], "False, since it takes momentum and no dampening"
