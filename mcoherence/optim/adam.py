"""Adam on the mean gradient of a mini-batch, by torch's own rule (Kingma and Ba, arXiv 1412.6980)."""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from mcoherence.optim.descent import EagerOptimizer


class Adam(EagerOptimizer, torch.optim.Adam):
    """torch.optim.Adam, unchanged in what it computes.

    Args:
        params: parameters or parameter groups.
        lr: learning rate.
        betas: decay rates of the means of the gradient and of its square, both in [0, 1).
        eps: added to the root of the mean square.
        weight_decay: factor of the weights that are added to the gradient.

    Raises:
        ValueError: a value out of its range.
    """

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))

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
