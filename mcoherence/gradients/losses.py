"""What a loss function is handed, and what it has to give.

It is anybody's code, which may depend on how many examples it is given, or on the batch as a whole. So of batches that
went through a model together it is handed the outputs of each, as it would be without joining.

Index letters: N examples of all batches, n of one of them.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from mcoherence.device import sent
from mcoherence.gradients.alignment import in_doubt
from mcoherence.gradients.graph import users_below
from mcoherence.gradients.reference import LossFunction
from mcoherence.gradients.trees import Tree, leaves, mapped


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
    """Of one batch: its losses [n], and the node of what came out of the model; None without a gradient."""

    losses: Tensor
    outputs: Node | None

    def keep_examples_apart(self) -> bool:
        """Whether the losses are known not to mix the rows of the outputs, by the graph between them."""
        root, end = self.losses.grad_fn, self.outputs
        return root is None or end is None or not in_doubt(users_below([root], {end: None}), [end], len(self.losses))


def losses_by_part(loss_fn: LossFunction, outputs: Any, targets: Tensor, sizes: Sequence[int]) -> list[PartLosses]:
    """The losses of batches of these sizes, of outputs [N, ...] and targets [N, ...].

    Raises:
        StaysApartError: the outputs are not one tensor [N, ...].
        ValueError: losses are not one per example.
    """
    if not isinstance(outputs, Tensor) or not outputs.dim() or len(outputs) != sum(sizes):
        raise StaysApartError
    parts = []
    for end, n in zip(itertools.accumulate(sizes), sizes, strict=True):
        rows = slice(end - n, end)
        with torch._C.DisableTorchFunction():  # these are no calls of the loss's
            of_part = outputs[rows].clone()  # which it may write to
            node, of_targets = of_part.grad_fn, targets[rows]
        losses = loss_fn(of_part, of_targets)
        require_losses(losses, n)
        parts.append(PartLosses(losses, node))
    return parts
