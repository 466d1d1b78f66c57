"""What a loss function is handed, and what it has to give.

It is anybody's code. It may depend on how many examples it is given, or on the batch as a whole, and keep or write to
what it is given. So of batches that went through a model together it is handed the outputs of each, as it would be
without joining, and differentiated before it is asked again.

Index letter: n examples of a batch.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mcoherence.device import sent
from mcoherence.gradients.alignment import in_doubt
from mcoherence.gradients.graph import users_below
from mcoherence.gradients.reference import LossFunction
from mcoherence.gradients.trees import Tree, leaves, mapped
from mcoherence.gradients.watching import Watch


def with_targets_at_outputs(loss_fn: LossFunction) -> LossFunction:
    """The loss with targets moved to the device that the outputs are on; a model may span several."""

    def losses(outputs: Any, targets: Tree) -> Tensor:
        found = leaves(outputs)
        return loss_fn(outputs, mapped(lambda leaf: sent(leaf, found[0].device), targets) if found else targets)

    return losses


def require_losses(losses: object, n: int) -> None:
    """Raise ValueError unless losses are a tensor [n]."""
    if not isinstance(losses, Tensor) or losses.shape != (n,):
        found = f"losses of shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__
        way_out = 'use reduction="none"'
        if isinstance(losses, Tensor) and losses.dim() > 1 and len(losses) == n:
            way_out = "sum each example's: losses.flatten(1).sum(1)"
            if losses.shape == (n, n):
                way_out = "bring outputs and targets to one shape, of which torch has made all pairs here"
        raise ValueError(f"loss_fn: found {found}, expected one loss per example, a tensor of shape ({n},); {way_out}")


class StaysApartError(Exception):
    """Batches that were joined are to be measured one by one."""


@dataclass(frozen=True)
class PartLosses:
    """The losses of one of the batches that went through a model together, taken and differentiated by themselves.

    losses: [n].
    output_grads: gradient of their sum with respect to the batch's outputs, [n, ...].
    overwritten: a truth value, [], whether the loss wrote over its outputs unseen, which the model may have saved.
    """

    losses: Tensor
    output_grads: Tensor
    overwritten: Tensor


def losses_of_part(loss_fn: LossFunction, outputs: Tensor, targets: Tree) -> PartLosses:
    """The losses of one batch, from its rows [n, ...] of the outputs of several, and from its targets [n, ...].

    What the loss keeps or writes to is differentiated before it is asked again.

    Raises:
        StaysApartError: it is not known that the losses depend on these outputs alone, each on its own row.
        ValueError: they are not one per example.
    """
    rows = outputs.detach().clone().requires_grad_()
    of_part = rows.clone()  # no leaf, as what a model gives is none
    node, version = of_part.grad_fn, of_part._version
    with Watch() as watch:
        losses = loss_fn(of_part, targets)
    require_losses(losses, len(rows))
    if watch.hooks or watch.differentiates or watch.values_read or of_part._version != version:
        raise StaysApartError
    overwritten = (of_part.detach() != rows.detach()).any()  # or NaN
    gradient = None
    if losses.requires_grad:
        below = users_below([losses.grad_fn], {})
        leaves_below = [leaf for one in below if (leaf := getattr(one, "variable", None)) is not None]
        assert node is not None
        if any(leaf is not rows for leaf in leaves_below) or in_doubt(below, [node], len(losses)):
            raise StaysApartError
        (gradient,) = torch.autograd.grad(losses.sum(), rows, allow_unused=True)
    if gradient is None:
        gradient = torch.zeros_like(rows)
    return PartLosses(losses.detach().clone(), gradient, overwritten)
