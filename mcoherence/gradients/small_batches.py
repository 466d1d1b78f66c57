"""Small batches of a sweep that go through the model together.

A pass of a small network is mostly calls of operations, and their number does not grow with the batch. Sums over
examples do not depend on how the examples are shared out. So batches are joined as long as a pass stays small.

Index letter: n examples.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mcoherence.gradients.passes import BatchSums, Passes
from mcoherence.gradients.trees import Tree, concatenated, forms, leaves, mapped

# Numbers of a pass, 32 MiB in float32: of the examples, which are copied, and those that all its operations make.
MOST_TOGETHER = 2**23


@dataclass(frozen=True)
class Piece:
    """Examples of one group: inputs and targets [n, ...], and their positions in the sample, int64 [n]."""

    group: int
    inputs: Tree
    targets: Tree
    positions: Tensor

    def copied(self) -> "Piece":
        """The same examples, whatever a loader writes to its tensors when it is asked for the next ones."""
        return Piece(self.group, mapped(_copied, self.inputs), mapped(_copied, self.targets), self.positions)

    def kind(self) -> object:
        """What pieces have in common that can be joined."""
        where = [(leaf.device, leaf.requires_grad) for leaf in self._leaves()]
        return self.group, self.form(), where

    def is_plain(self) -> bool:
        """Whether all is in its tensors: those of subclasses may say something of their own of a whole batch."""
        return all(type(leaf) in (Tensor, nn.Parameter) for leaf in self._leaves())

    def numbers(self) -> int:
        """How many numbers its tensors hold."""
        return sum(leaf.numel() for leaf in self._leaves())

    def form(self) -> str:
        """Containers, shapes and dtypes of an example: all that code sees of it but its values."""
        return forms((self.inputs, self.targets))

    def _leaves(self) -> list[Tensor]:
        return leaves((self.inputs, self.targets))


def _copied(leaf: Tensor) -> Tensor:
    return leaf.detach().clone().requires_grad_(leaf.requires_grad)


def is_unclear(measured: BatchSums) -> bool:
    """Whether a pass may have gone another way than its examples alone, and what it read does not tell which."""
    return measured.doubt is not None and measured.doubt.values is None


def as_one(pieces: Sequence[Piece]) -> Piece:
    """Pieces of one kind as one."""
    return Piece(
        pieces[0].group,
        concatenated([piece.inputs for piece in pieces]),
        concatenated([piece.targets for piece in pieces]),
        torch.cat([piece.positions for piece in pieces]),
    )


class SmallBatches:
    """How many examples of a sweep go through the model together, as its batches show.

    The first batch of each form, such as texts of one length, goes alone, for its operations to be counted; if it is
    of one example, which is measured without a count, the first two. So do all of a model that chooses rows by content,
    draws random numbers or has parameters that are measured through the whole model: what each of these costs grows
    with the batch. What was chosen in the first batch may be by weights alone, which only the next one tells
    (`watching`). Values that are read one by one keep no batches apart: each example is held against what it would read
    alone, whichever others are beside it (`ways`).

    A pass of joined batches that is unclear, or fails, or fails its checks, counts for nothing: these batches are
    measured one by one.
    """

    def __init__(self, passes: Passes) -> None:
        self._capture = passes.capture
        self._first = True
        self._stopped = False
        self._most: dict[str, int] = {}  # examples, by their form

    def shared_out(self, pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
        """The pieces, in their order, those together that are to be joined."""
        waiting: list[Piece] = []
        room, kind = 0, None
        for piece in pieces:
            n, found = len(piece.positions), piece.kind()
            if waiting and (n > room or found != kind):
                yield waiting
                waiting = []
            if not waiting:
                room, kind = self._room(piece), found
            room -= n
            if room < n:  # the next one would hardly fit
                yield [*waiting, piece]
                waiting = []
            else:
                waiting.append(piece.copied())
        if waiting:
            yield waiting

    def _room(self, piece: Piece) -> int:
        """For how many examples, from this piece on; single ones of a form that is new go two by two."""
        if self._stopped or not piece.is_plain():
            return 0
        self._capture.counting = piece.form() not in self._most
        return self._most.get(piece.form(), 2 if len(piece.positions) == 1 else 0)

    def learn(self, piece: Piece, measured: BatchSums) -> None:
        """Take in what was measured of a batch."""
        capture = self._capture
        if capture.routed:
            self.stop()
        elif is_unclear(measured):
            self.doubt()
        elif capture.counting and measured.n > 1:  # a single example is passed by itself, and shows nothing
            self._most[piece.form()] = math.floor(MOST_TOGETHER * measured.n / max(1, capture.made + piece.numbers()))
        if measured.n > 1:
            self._first = False
        capture.counting, capture.made = False, 0

    def doubt(self) -> None:
        """Take in that a pass was unclear: in the first one what it read may be of weights alone."""
        if not self._first:
            self.stop()
        self._first = False

    def stop(self) -> None:
        """Join no more, as of batches that the model cannot take together."""
        self._stopped = True
