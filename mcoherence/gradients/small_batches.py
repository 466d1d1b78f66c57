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
from torch import Tensor, nn

from mcoherence.gradients.graph import Made
from mcoherence.gradients.independence.axes import NotKnownError
from mcoherence.gradients.independence.known import KnownApart
from mcoherence.gradients.passes import BatchSums, Passes
from mcoherence.gradients.trees import Tree, concatenated, forms, joinable, leaves, mapped

# Off: what looks at a pass overlooks values that a script reads from memory, tensors that share memory, and the length
# of constants in their products. So batches were joined that come out otherwise (benchmarks/RESULTS.md).
JOINS = False
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
        """What pieces that can be joined have in common; None of one that cannot."""
        alike = joinable((self.inputs, self.targets)) if len(self.positions) > 1 else None
        return None if alike is None else (self.group, *alike)

    @cached_property
    def form(self) -> str:
        """Containers, shapes and dtypes of an example."""
        return forms((self.inputs, self.targets))

    def numbers(self) -> int:
        """How many numbers its tensors hold."""
        return sum(leaf.numel() for leaf in leaves((self.inputs, self.targets)))


def _copied(leaf: Tensor) -> Tensor:
    return leaf.detach().clone().requires_grad_(leaf.requires_grad)


def as_one(pieces: Sequence[Piece]) -> Piece:
    """Pieces of one kind as one."""
    return Piece(
        pieces[0].group,
        concatenated([piece.inputs for piece in pieces]),
        concatenated([piece.targets for piece in pieces]),
        torch.cat([piece.positions for piece in pieces]),
    )


class SmallBatches:
    """Which batches of a sweep go through the model together, as its first ones show; none while JOINS is off.

    Only batches that are taken for known to come out as by themselves: no code of the user's runs from one to the next,
    and the passes of the first batch and of the joined ones call the same operations, which keep examples apart
    (`independence`). The first batch of each form, such as texts of one length, goes alone for that, and for what its
    operations make to be counted. So does the first of each size.

    Batches of one example are never joined: these are the examples alone, whatever the model does with others. Nor are
    those of a model in half precision, of one with parameters that are measured through the whole model, which costs as
    much of each example, or of one with recurrent layers: to look at the calls of every step takes longer than a call
    of some batches gains.

    A pass of joined batches that fails, or its check, counts for nothing, but that a parameter which a rule misread
    stays with the whole model: these batches are measured one by one, and no others are joined.
    """

    def __init__(self, passes: Passes, *, undisturbed: bool) -> None:
        """`undisturbed`: whether no code of the user's runs from one batch to the next."""
        self._capture = passes.capture
        self._on_processor = passes.device.type == "cpu"
        # In half precision a gradient is no longer the sum of as many examples: rounding adds up.
        half = any(p.dtype.itemsize < 4 for p in passes.parameters.values())
        recurrent = any(isinstance(module, nn.RNNBase) for module in passes.model.modules())
        self._stopped = not (JOINS and undisturbed) or half or recurrent
        self._apart = KnownApart()
        self._most: dict[str, int] = {}  # examples, by their form
        self._per_example: dict[str, float] = {}  # the most numbers so far, by form

    def shared_out(self, pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
        """All pieces, those together that are to be joined; of one kind in their order."""
        waiting: dict[tuple[Any, ...], list[Piece]] = {}
        for piece in pieces:
            kind, n = None if self._stopped else piece.kind, len(piece.positions)
            if kind is None or not self._is_known(piece.form, n):
                yield [piece]
                continue
            others = waiting.pop(kind, [])
            room = self._most.get(piece.form, 0) - sum(len(other.positions) for other in others)
            if others and n > room:
                yield others
                others, room = [], self._most.get(piece.form, 0)
            if room < 2 * n or len(others) + 1 == MOST_BATCHES:  # none of its size would fit after it
                yield [*others, piece]
            else:
                waiting[kind] = [*others, piece.copied()]
            while sum(map(len, waiting.values())) > MOST_BATCHES:
                yield waiting.pop(next(iter(waiting)))
        yield from waiting.values()

    def _is_known(self, form: str, n: int) -> bool:
        return not self._stopped and self._apart.is_known(form, n)

    def looks_at(self, parts: Sequence[Piece]) -> bool:
        """Whether it is to be looked at what a pass of these parts calls and makes."""
        n = _examples(parts)
        if self._stopped or n == 1:
            return False
        form = parts[0].form
        if not self._apart.may_be(form):
            return False
        return not self._apart.is_known(form, n) or (len(parts) > 1 and self._apart.reads(form))

    def learn(self, parts: Sequence[Piece], measured: BatchSums) -> None:
        """Take in what was measured of parts in one pass.

        Raises:
            NotKnownError: of joined ones, that they come out as by themselves.
        """
        if self._capture.routed:
            self.stop()
        if self.looks_at(parts):
            self._apart.take(parts[0].form, measured.n, measured.calls)
            if measured.made is not None:
                self._most[parts[0].form] = self._most_examples(parts, measured, measured.made)
        if len(parts) > 1 and not self._is_known(parts[0].form, measured.n):
            raise NotKnownError

    def stop(self) -> None:
        """Join no more."""
        self._stopped = True

    def _most_examples(self, parts: Sequence[Piece], measured: BatchSums, made: Made) -> int:
        """How many examples of the parts' form may go together."""
        form = parts[0].form
        numbers, operations = made.numbers + sum(part.numbers() for part in parts), max(1, made.operations)
        self._per_example[form] = max(self._per_example.get(form, 1.0), numbers / measured.n)
        most = min(MOST_NUMBERS, MOST_OF_AN_OPERATION * operations) if self._on_processor else MOST_NUMBERS
        return math.floor(min(most / self._per_example[form], MOST_EXAMPLES))


def _examples(parts: Sequence[Piece]) -> int:
    return sum(len(part.positions) for part in parts)
