"""Small batches of a sweep that go through the model together.

A pass of a small network is mostly calls of operations, and their number does not grow with the batch. Sums over
examples do not depend on how the examples are shared out. So batches are joined as long as a pass stays small.

Index letter: n examples.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mcoherence.gradients.graph import Made
from mcoherence.gradients.passes import BatchSums, Passes
from mcoherence.gradients.trees import Tree, concatenated, forms, joinable, leaves, mapped

# Of a pass: its examples, which are copied, and what its operations make.
MOST_NUMBERS = 2**24  # 64 MiB in float32
# As many of each operation, 2 MiB in float32, fill the caches of a processor; from there on larger passes are slower.
MOST_OF_AN_OPERATION = 2**19
# As many take so long beside the call itself that more of them gain less than the losses of each batch cost.
ENOUGH_OF_AN_OPERATION = 2**16
# What a pass may come to where its numbers grow with the square of the examples, which a smaller pass does not tell.
MOST_OF_SQUARES = 2**26
MOST_BATCHES = 16  # whichever way a larger pass goes, it makes no more than so many of its user's own
MOST_EXAMPLES = 4096


@dataclass(frozen=True)
class Piece:
    """Examples of one group.

    inputs, targets: [n, ...].
    positions: in the sample, int64 [n].
    losses: [n], as they were when the batch came, of one that waits for others.
    """

    group: int
    inputs: Tree
    targets: Tree
    positions: Tensor
    losses: Tensor | None = None

    def copied(self) -> "Piece":
        """The same examples, whatever a loader writes to its tensors when it is asked for the next ones."""
        return replace(self, inputs=mapped(_copied, self.inputs), targets=mapped(_copied, self.targets))

    @cached_property
    def kind(self) -> tuple[Any, ...] | None:
        """What pieces have in common that can be joined; None of one that cannot."""
        alike = joinable((self.inputs, self.targets)) if len(self.positions) > 1 else None
        return None if alike is None else (self.group, *alike)

    @cached_property
    def form(self) -> str:
        """Containers, shapes and dtypes of an example: all that code sees of it but its values."""
        return forms((self.inputs, self.targets))

    def numbers(self) -> int:
        """How many numbers its tensors hold."""
        return sum(leaf.numel() for leaf in leaves((self.inputs, self.targets)))


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
        torch.cat([piece.losses for piece in pieces if piece.losses is not None]),
    )


class SmallBatches:
    """How many examples of a sweep go through the model together, as its batches show.

    Batches of one example are never joined: these are the examples alone, whatever the model does with others. The
    first batch of each form, such as texts of one length, goes alone, for what its operations make to be counted. So do
    all of a model in half precision, and of one that chooses rows by content, draws random numbers or has parameters
    that are measured through the whole model: what each of these costs grows with the batch. What was chosen in the
    first batch may be by weights alone, which only the next one tells (`watching`). Values that are read one by one
    keep no batches apart: each example is held against what it would read alone, whichever others are beside it
    (`ways`).

    A model may take something of a batch as a whole, which its examples have in common and those of others do not. So
    the losses of a batch that waits are taken when it comes, by a forward pass of its own, and those of the pass of all
    are held against them.

    A pass of joined batches that is unclear, or fails, or fails its checks, counts for nothing, but that a parameter
    which a rule misread stays with the whole model: these batches are measured one by one.
    """

    def __init__(self, passes: Passes) -> None:
        self._passes, self._capture = passes, passes.capture
        self._on_processor = passes.device.type == "cpu"
        self._first = True
        # In half precision a gradient is no longer the sum of as many examples: rounding adds up.
        self._stopped = any(p.dtype.itemsize < 4 for p in passes.parameters.values())
        self._most: dict[str, int] = {}  # examples, by their form
        self._per_example: dict[str, float] = {}  # the most numbers so far, by form

    def shared_out(self, pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
        """The pieces, in their order, those together that are to be joined."""
        waiting: list[Piece] = []
        room, kind = 0, None
        for piece in pieces:
            n, found = len(piece.positions), piece.kind
            if waiting and (n > room or found != kind):
                yield waiting
                waiting = []
            if not waiting:
                room, kind = 0 if found is None else self._room(piece), found
            room -= n
            fits = room >= n and len(waiting) + 1 < MOST_BATCHES  # the next one
            known = self._with_losses(piece) if fits or waiting else None
            if known is None:
                yield from ([one] for one in (*waiting, piece))
                waiting = []
            elif fits:
                waiting.append(known.copied())
            else:
                yield [*waiting, known]
                waiting = []
        if waiting:
            yield waiting

    def _with_losses(self, piece: Piece) -> Piece | None:
        """The batch with its losses; None where a forward pass fails, which its own pass will tell."""
        try:
            return replace(piece, losses=self._passes.losses(piece.inputs, piece.targets))
        except Exception:
            self._passes.undo()
            self.stop()
            return None

    def counts(self, parts: Sequence[Piece]) -> bool:
        """Whether it is to be counted what a pass of these parts makes."""
        return not self._stopped and (len(parts) > 1 or parts[0].form not in self._most)

    def learn(self, piece: Piece, measured: BatchSums) -> None:
        """Take in what was measured of a batch."""
        if self._capture.routed:
            self.stop()
        elif is_unclear(measured):
            self.doubt()
        elif measured.made is not None:
            self._most[piece.form] = self._most_examples(piece, measured, measured.made)
        if measured.n > 1:
            self._first = False

    def doubt(self) -> None:
        """Take in that a pass was unclear: in the first one what it read may be of weights alone."""
        if not self._first:
            self.stop()
        self._first = False

    def stop(self) -> None:
        """Join no more, as of batches that the model cannot take together."""
        self._stopped = True

    def _most_examples(self, piece: Piece, measured: BatchSums, made: Made) -> int:
        """How many examples of the piece's form may go together."""
        numbers, operations = made.numbers + piece.numbers(), max(1, made.operations)
        per_example = max(self._per_example.get(piece.form, 1.0), numbers / measured.n)
        self._per_example[piece.form] = per_example
        most: float = MOST_NUMBERS
        if self._on_processor:
            if piece.form not in self._most and numbers >= ENOUGH_OF_AN_OPERATION * operations:
                return 0
            most = min(most, MOST_OF_AN_OPERATION * operations)
        grown = math.sqrt(MOST_OF_SQUARES * measured.n / per_example)  # from n, were it by the square
        return math.floor(min(most / per_example, grown, MOST_EXAMPLES))

    def _room(self, piece: Piece) -> int:
        """For how many examples, from this piece on."""
        return 0 if self._stopped else self._most.get(piece.form, 0)
