"""Examples of one group, as they go through a model together.

Index letter: n examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mcoherence.gradients.given.trees import Tree, is_plain, mapped


@dataclass(frozen=True)
class Piece:
    """Examples of one group.

    inputs, targets: [n, ...].
    positions: in the sample, int64 [n].
    """

    group: int
    inputs: Tree
    targets: Tree
    positions: Tensor

    def copied(self) -> "Piece":
        """The same examples, whatever a loader writes to its tensors when it is asked for the next ones."""
        return replace(self, inputs=mapped(_copied, self.inputs), targets=mapped(_copied, self.targets))

    @cached_property
    def kind(self) -> tuple[Any, ...] | None:
        """What pieces that can be joined have in common; None of one that cannot: two plain tensors can."""
        leaves = (self.inputs, self.targets)
        if len(self.positions) < 2 or not all(isinstance(leaf, Tensor) and _says_its_values(leaf) for leaf in leaves):
            return None
        return tuple((leaf.shape[1:], leaf.dtype, leaf.device, leaf.requires_grad) for leaf in leaves)


def _says_its_values(leaf: Tensor) -> bool:
    """Whether a tensor says nothing but its values and shape."""
    if not is_plain(leaf) or leaf.layout != torch.strided or leaf.is_quantized:
        return False
    return leaf.is_contiguous() and not leaf._backward_hooks and not leaf.grad_fn


def _copied(leaf: Tensor) -> Tensor:
    return leaf.detach().clone().requires_grad_(leaf.requires_grad)


def as_one(pieces: Sequence[Piece]) -> Piece:
    """Pieces of one group and kind as one."""
    positions = torch.cat([one.positions for one in pieces])
    return Piece(
        pieces[0].group, _joined([one.inputs for one in pieces]), _joined([one.targets for one in pieces]), positions
    )


def _joined(leaves: Sequence[Tensor]) -> Tensor:
    return torch.cat([leaf.detach() for leaf in leaves]).requires_grad_(leaves[0].requires_grad)
