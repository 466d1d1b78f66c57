"""Small batches of a sweep that go through the model together.

A pass of a small network is mostly calls of operations, and their number does not grow with the batch. Sums over
examples do not depend on how the examples are shared out. So batches are joined as long as a pass stays small.

Index letter: n examples of a batch.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mcoherence.gradients.passes import BatchSums, Passes
from mcoherence.gradients.trees import Tree, is_plain, mapped

# Of a pass: its examples, which are copied, and what its operations make.
MOST_NUMBERS = 2**24  # 64 MiB in float32
# As many of each operation, 2 MiB in float32, fill the caches of a processor; from there on larger passes are slower.
MOST_OF_AN_OPERATION = 2**19
MOST_BATCHES = 8  # the overhead of a call is an eighth then
MOST_EXAMPLES = 4096


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
    """Whether a part of a longer tensor that has the values of this one is as good."""
    return is_plain(leaf) and leaf.is_contiguous() and not leaf._backward_hooks and not leaf.grad_fn


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


class SmallBatches:
    """Which batches of a sweep go through the model together.

    Only those of a model that keeps examples apart whatever the batch is (`example_wise`), of plain tensors, and where
    no code of the user's runs from one batch to the next. What the loss function does with a batch is looked at in the
    first one of its kind and size, which goes alone: it is to read no values, draw no random numbers, write to none of
    its arguments, and use parameters by their layers alone. In a joined pass it is asked batch by batch (`losses`).

    Batches of one example are never joined: these are the examples alone. Nor are those in half precision, in which a
    gradient is no longer the sum of as many examples: rounding adds up.

    A pass of joined batches that fails, or its check, counts for nothing: these batches are measured one by one, and no
    others are joined.
    """

    def __init__(self, passes: Passes, *, undisturbed: bool) -> None:
        """`undisturbed`: whether no code of the user's runs from one batch to the next."""
        self._device = passes.device.type
        half = any(p.dtype not in (torch.float32, torch.float64) for p in passes.model.parameters())
        self._stopped = not (undisturbed and passes.example_wise) or half or torch.is_autocast_enabled(self._device)
        self._known: set[tuple[Any, ...]] = set()  # kinds, each with a number of examples
        self._most: dict[tuple[Any, ...], int] = {}  # examples, by kind

    def shared_out(self, pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
        """All pieces, those together that are to be joined; of one group and kind in their order."""
        waiting: dict[tuple[Any, ...], list[Piece]] = {}
        for piece in pieces:
            kind, n = piece.kind, len(piece.positions)
            if self._stopped or kind is None or (kind, n) not in self._known:
                yield [piece]
                continue
            others = waiting.pop((piece.group, kind), [])
            room = self._most[kind] - sum(len(other.positions) for other in others)
            if others and n > room:
                yield others
                others, room = [], self._most[kind]
            if room < 2 * n or len(others) + 1 == MOST_BATCHES:  # none of its size would fit after it
                yield [*others, piece]
            else:
                waiting[piece.group, kind] = [*others, piece.copied()]
            while sum(map(len, waiting.values())) > MOST_BATCHES:
                yield waiting.pop(next(iter(waiting)))
        yield from waiting.values()

    def counts(self, piece: Piece) -> bool:
        """Whether what a pass of this piece makes is to be counted."""
        return not self._stopped and piece.kind is not None and piece.kind not in self._most

    def learn(self, piece: Piece, measured: BatchSums, *, written: bool) -> None:
        """Take in what was measured of a piece alone, and whether its tensors were `written` to meanwhile."""
        if self._stopped or piece.kind is None:
            return
        if written or measured.doubt is not None or not measured.by_calls:
            self.stop()
            return
        self._known.add((piece.kind, measured.n))
        if measured.made is not None:
            numbers = measured.made.numbers + piece.inputs.numel() + piece.targets.numel()
            most = MOST_NUMBERS
            if self._device == "cpu":
                most = min(most, MOST_OF_AN_OPERATION * max(1, measured.made.operations))
            self._most[piece.kind] = math.floor(min(most * measured.n / numbers, MOST_EXAMPLES))

    def stop(self) -> None:
        """Join no more."""
        self._stopped = True
