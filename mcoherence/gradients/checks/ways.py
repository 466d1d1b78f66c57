"""Which way the pass of an example goes alone, and in a batch: what it reads decides that.

A model that asks for the value of a tensor may go on otherwise for a batch than for an example alone. It goes the same
way where it reads the same values. A pass of one example shows by which calls its values come (following.py). By these
the values of the others are worked out from their inputs, without the model.

Index letter: n examples of a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mcoherence.gradients.batch.passes import BatchSums, Passes
from mcoherence.gradients.checks.chosen_examples import drawn
from mcoherence.gradients.given.alone import twice
from mcoherence.gradients.given.trees import Tree, forms, leaves
from mcoherence.gradients.graph.watching import Read, Value, typed

MOST_TRIED = 4
MOST_FAILED = 2  # batches of a call in which no example showed the batch's way, after which none is asked any more


@dataclass(frozen=True)
class Group:
    """Examples of a batch that alone would read the same values, up to the first that is not the batch's."""

    examples: tuple[int, ...]
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Compared:
    """Which examples of a batch are to be compared with themselves outside of it.

    alone: those whose loss alone is.
    together: those whose loss in a batch of their group is.
    gradients: those whose gradient alone is, since none that goes their way was looked at so far.
    ways: pairs to remember if all comparisons agree: values that the batch reads, values that an example reads alone.
    shown: to remember likewise, by form and values of the batch: what an example that goes its way reads.
    """

    alone: tuple[int, ...]
    together: tuple[Group, ...] = ()
    gradients: tuple[int, ...] = ()
    ways: frozenset[tuple[Any, ...]] = frozenset()
    shown: Mapping[tuple[Any, ...], tuple[Read, ...]] = field(default_factory=dict)


class Ways:
    """The ways that the examples of one call go.

    Args:
        passes: through the model.
        at_random: number of examples whose gradient is compared where nothing is known of a batch.
    """

    def __init__(self, passes: Passes, at_random: int) -> None:
        self._passes = passes
        self._at_random = at_random
        self._failed = 0
        self._shown: dict[tuple[Any, ...], tuple[Read, ...]] = {}  # by form and values of the batch
        self._looked_at: set[tuple[Any, ...]] = set()  # values of a batch, and of an example of it alone

    def compared(self, measured: BatchSums, inputs: Tree, targets: Tree) -> Compared:
        """What to compare of a batch that is in doubt; all examples where their ways cannot be worked out."""
        unknown = Compared(tuple(range(measured.n)), gradients=tuple(drawn(measured.n, self._at_random)))
        if measured.doubt is None or measured.doubt.values is None:
            return unknown
        in_batch = measured.doubt.values
        shown_by: tuple[int, ...] = ()
        key = (forms((inputs, targets)), typed(in_batch))
        reads = self._shown.get(key)
        if reads is None:
            found = None
            if self._failed < MOST_FAILED:
                found = self._shown_by_one(in_batch, measured.n, inputs, targets)
            if found is None:
                self._failed += 1
                return unknown
            shown_by, reads = (found[0],), found[1]
        of_all = leaves((self._passes.at_device(inputs), targets))
        values = [_worked_out(reads, in_batch, _twins_of(of_all, i)) for i in range(measured.n)]
        return replace(self._compared(in_batch, values, shown_by), shown={key: reads})

    def take(self, compared: Compared) -> None:
        """Take in that these comparisons were made, and found nothing."""
        self._looked_at |= compared.ways
        self._shown |= compared.shown

    def _shown_by_one(
        self, in_batch: tuple[Value, ...], n: int, inputs: Tree, targets: Tree
    ) -> tuple[int, tuple[Read, ...]] | None:
        """An example that goes the batch's way alone, and what its pass reads; None if none of some does."""
        for i in drawn(n, n)[-MOST_TRIED:]:
            reads = self._passes.reads_alone(inputs, targets, i)
            if reads is None:
                return None
            if typed([read.value for read in reads]) == typed(in_batch):
                return i, reads
        return None

    def _compared(
        self, in_batch: tuple[Value, ...], values: Sequence[tuple[Value, ...] | None], shown_by: tuple[int, ...]
    ) -> Compared:
        groups: dict[Any, list[int]] = {}
        for i, of_one in enumerate(values):
            if of_one is not None and typed(of_one) != typed(in_batch):
                groups.setdefault(typed(of_one), []).append(i)
        ways = {(typed(in_batch), key): group[0] for key, group in groups.items()}
        new = [example for way, example in ways.items() if way not in self._looked_at]
        unknown = [i for i, of_one in enumerate(values) if of_one is None]
        single = [i for group in groups.values() if len(group) == 1 for i in group]
        return Compared(
            tuple(sorted({*shown_by, *unknown, *new, *single})),
            tuple(Group(tuple(group), values[group[0]] or ()) for group in groups.values() if len(group) > 1),
            tuple(new),
            frozenset(ways),
        )


def _twins_of(batch: Sequence[Tensor], i: int) -> Callable[[int], Tensor]:
    """By the place of a tensor [n, ...] of the batch, its example i twice, [2, ...]."""

    def twins(place: int) -> Tensor:
        found: Tensor = twice(batch[place][i : i + 1])
        return found

    return twins


def _worked_out(
    reads: Sequence[Read], in_batch: Sequence[Value], inputs: Callable[[int], Tensor]
) -> tuple[Value, ...] | None:
    """What the pass of another example reads, up to the first value that is not the batch's; None if that fails."""
    found: list[Value] = []
    known: dict[int, Any] = {}
    try:
        with torch.no_grad():
            for read, expected in zip(reads, in_batch, strict=True):
                assert read.call is not None
                found.append(read.call.worked_out(inputs, known))
                if typed(found[-1:]) != typed([expected]):
                    break
    except torch.OutOfMemoryError:
        raise
    except Exception:  # what goes for one example does not for another: its own pass will show
        return None
    return tuple(found)
