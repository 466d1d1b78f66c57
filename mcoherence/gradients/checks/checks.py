"""What of each batch is held against examples alone, and what came of it.

Index letter: n examples of a batch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mcoherence.gradients.batch.joined_pass import StaysApartError
from mcoherence.gradients.batch.passes import BatchSums, Passes
from mcoherence.gradients.checks.chosen_examples import drawn, shown, telling
from mcoherence.gradients.checks.same_losses import (
    require_same_in_a_batch_of,
    require_same_in_a_smaller_batch,
    require_same_losses,
    require_same_of_each,
)
from mcoherence.gradients.checks.spot_check import error_alone, require_same_sums, spot_checked
from mcoherence.gradients.checks.ways import Compared, Ways
from mcoherence.gradients.given.pieces import Piece

MOST_SUMMED = 8  # examples


@dataclass(frozen=True)
class _Due:
    """What of a batch is to be compared with what.

    gradients: examples whose gradient is with that alone.
    alone: those whose loss is with that alone.
    smaller: whether some losses are with those in a batch of half as many.
    each: whether the losses of all are with those alone, in one pass.
    sums: examples whose gradients' sum is with the gradient of a batch of them.
    ways: the same of examples that alone may go another way.
    """

    gradients: Sequence[int]
    alone: Sequence[int]
    smaller: bool
    each: bool
    sums: Sequence[int]
    ways: Compared


@dataclass(frozen=True)
class AlreadyChecked:
    """What was looked at before, and need not be again.

    sizes: numbers of examples of batches.
    joined: {kind of examples: the largest number of them that went together}.
    seen: names of parameters that had a gradient at an example that was compared.
    """

    sizes: frozenset[int] = frozenset()
    joined: Mapping[tuple[Any, ...], int] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()


class Checks:
    """What of the batches of one call is compared with examples alone.

    spot_check: number of examples of a batch to measure once more; 0 for none.
    spot_examples: how many gradients were compared so far.
    spot_error: the largest relative error of a parameter's |g_i|^2 among them; NaN before the first.
    at_kink: whether one of them is at a kink of its loss (`SpotCheck`).
    """

    def __init__(self, passes: Passes, spot_check: int, before: AlreadyChecked) -> None:
        self.spot_check = spot_check
        self.spot_examples = 0
        self.spot_error = math.nan
        self.at_kink = False
        self._passes = passes
        self._ways = Ways(passes, spot_check)
        self._that_may_mix = 0  # batches whose examples may have met where no gradient shows it
        self._suspects = 0  # examples of a joined batch that failed, which come batch by batch now
        self._sizes = set(before.sizes)
        self._joined = dict(before.joined)
        self._seen = set(before.seen)

    def so_far(self) -> AlreadyChecked:
        """What has been looked at by now."""
        return AlreadyChecked(frozenset(self._sizes), dict(self._joined), frozenset(self._seen))

    def checked(self, measured: BatchSums, piece: Piece) -> BatchSums:
        """A batch as it was handed in and measured, put right where a spot check is due and asks for it.

        Compared are, of a batch of more than one example (a single one is measured as the loop does):

        - gradients, in the first batch and where parameters have some that no checked example has shown yet;
        - the losses of all examples that may go another way alone, of a batch in doubt (`checks.ways`);
        - the gradient of one, of the first batch of another size; its loss, if the network keeps examples apart
          whatever their number is;
        - the losses of some examples with those in a smaller batch of them, of the first batch;
        - all losses, and a gradient, where examples may have met and no gradient shows it, of the first such batch, the
          second, the fourth and so on.
        """
        n = measured.n
        if not self.spot_check or n == 1:
            return measured
        unseen = self._unseen(measured)
        each = self._has_its_turn(measured)
        if not (measured.doubt or unseen or n not in self._sizes or each):
            return measured
        ways = self._ways.compared(measured, piece.inputs, piece.targets) if measured.doubt else Compared(())
        first = not self._sizes
        all_alone = len(ways.alone) == n
        loss_alone = n not in self._sizes and self._passes.example_wise and not (first or all_alone)
        at_random = self.spot_check if unseen or each or (n not in self._sizes and not loss_alone) else 0
        due = _Due(
            gradients=telling(measured, unseen, at_random),
            alone=[*ways.alone, *(drawn(n, 1) if loss_alone else [])],
            smaller=first and not all_alone,
            each=each and not all_alone,
            sums=drawn(n, min(n, MOST_SUMMED)) if each and measured.own_backward else (),
            ways=ways,
        )
        measured = self._compared(due, measured, piece)
        self._sizes.add(n)
        self._suspects = max(0, self._suspects - n)
        return measured

    def check_joined(self, measured: BatchSums, piece: Piece) -> None:
        """Hold batches that were joined against examples alone, where there is something new.

        They are known to come out as by themselves. Yet of more examples than ever before of a kind the gradient of one
        is looked at, and those of parameters that no example has shown.

        Raises:
            StaysApartError: they disagree.
            UnsupportedModelError: their losses do.
        """
        each = self._has_its_turn(measured)
        if each:
            self._suspects = measured.n  # in case that it fails: the batches by themselves will show
            require_same_of_each(self._passes, measured, piece.inputs, piece.targets)
            self._suspects = 0
        unseen, kind = self._unseen(measured), piece.kind
        assert kind is not None
        new = each or bool(unseen) or measured.n > self._joined.get(kind, 0)
        if not new:
            return
        examples = telling(measured, unseen, 1)
        error = error_alone(self._passes, measured, piece.inputs, piece.targets, examples)
        if error is None:
            raise StaysApartError
        self._joined[kind] = max(measured.n, self._joined.get(kind, 0))
        self._take_spot(shown(measured, examples), len(examples), error)

    def _has_its_turn(self, measured: BatchSums) -> bool:
        """Count a batch that may mix its examples; whether all are to be looked at, as of the first, second, fourth."""
        self._that_may_mix += measured.may_mix
        return measured.may_mix and (self._suspects > 0 or self._that_may_mix.bit_count() == 1)

    def _unseen(self, measured: BatchSums) -> list[str]:
        return [name for name, total in measured.totals.items() if total > 0 and name not in self._seen]

    def _compared(self, due: _Due, measured: BatchSums, piece: Piece) -> BatchSums:
        """The batch after what is due, put right where that asks for it; what was seen is taken in if all is well."""
        batch = (piece.inputs, piece.targets)
        if due.each:
            require_same_of_each(self._passes, measured, *batch)
        examples = [*due.gradients, *(i for i in due.ways.gradients if i not in due.gradients)]
        seen = shown(measured, examples) if examples else set()
        spot = spot_checked(self._passes, measured, *batch, examples) if examples else None
        if spot is not None:
            measured = spot.measured
        if due.sums:
            require_same_sums(self._passes, *batch, due.sums)
        require_same_losses(self._passes, measured, *batch, due.alone)
        for group in due.ways.together:
            require_same_in_a_batch_of(self._passes, measured, *batch, group.examples, group.values)
        if due.smaller:
            require_same_in_a_smaller_batch(self._passes, measured, *batch)
        # All is well. Had a check failed, the next would have to look at the same again.
        if spot is not None:
            self._take_spot(seen, len(examples), spot.relative_error)
            self.at_kink |= spot.at_kink
        self._ways.take(due.ways)
        return measured

    def _take_spot(self, seen: set[str], examples: int, error: float) -> None:
        self._seen.update(seen)
        self.spot_examples += examples
        self.spot_error = float(np.fmax(self.spot_error, error))
