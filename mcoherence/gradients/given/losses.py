"""What a loss function is handed, and what it has to give."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mcoherence.device import sent
from mcoherence.gradients.given.trees import Tree, leaves, mapped

LossFunction = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class TargetsAtOutputs:
    """The loss with targets moved to the device that the outputs are on; a model may span several."""

    loss_fn: LossFunction

    def __call__(self, outputs: Any, targets: Tree) -> Tensor:
        """The losses [n] of outputs [n, ...] and targets [n, ...]."""
        found = leaves(outputs)
        return self.loss_fn(outputs, mapped(lambda leaf: sent(leaf, found[0].device), targets) if found else targets)


def require_losses(losses: object, n: int) -> None:
    """Raise ValueError unless losses are a tensor [n] of real numbers."""
    if not isinstance(losses, Tensor) or losses.shape != (n,):
        found = f"losses of shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__
        way_out = 'use reduction="none"'
        if isinstance(losses, Tensor) and losses.dim() > 1 and len(losses) == n:
            way_out = "sum each example's: losses.flatten(1).sum(1)"
            if losses.shape == (n, n):
                way_out = "bring outputs and targets to one shape, of which torch has made all pairs here"
        raise ValueError(f"loss_fn: found {found}, expected one loss per example, a tensor of shape ({n},); {way_out}")
    require_real(losses)


def require_real(losses: Tensor) -> None:
    """Raise ValueError where losses are complex: there is no direction in which they fall."""
    if losses.is_complex():
        raise ValueError(
            f"loss_fn: found losses of type {str(losses.dtype).removeprefix('torch.')}, expected real numbers, which "
            "can be lowered; take .real or .abs() of them"
        )
