"""What is counted and checked while the batches of one call are measured, and the evidence that it adds up to.

Index letters: n examples of a batch, G groups, P parameters.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcoherence.gradients.chosen_examples import drawn, shown, telling
from mcoherence.gradients.evidence import Evidence, bound_ratio
from mcoherence.gradients.group_sums import sq_norms_of_sums
from mcoherence.gradients.joined_pass import StaysApartError
from mcoherence.gradients.passes import BatchSums, Passes
from mcoherence.gradients.same_losses import (
    require_same_in_a_batch_of,
    require_same_in_a_smaller_batch,
    require_same_losses,
)
from mcoherence.gradients.small_batches import Piece
from mcoherence.gradients.spot_check import error_alone, spot_checked
from mcoherence.gradients.trees import length, require_parts
from mcoherence.gradients.ways import Compared, Ways


@dataclass(frozen=True)
class _Due:
    """What of a batch is to be compared with what.

    gradients: examples whose gradient is with that alone.
    alone: those whose loss is with that alone.
    smaller: whether some losses are with those in a batch of half as many.
    ways: the same of examples that alone may go another way.
    """

    gradients: Sequence[int]
    alone: Sequence[int]
    smaller: bool
    ways: Compared


@dataclass
class Tally:
    """What is counted and checked while the batches of one call are measured.

    passes: those through the model.
    spot_check: number of examples of a batch to measure once more; 0 for none.
    parts: of a batch, 2 or with group ids 3.
    asked: number of examples handed in so far.
    uncovered: names of the parameters that are in S and not in Q.
    sizes: numbers of examples of the batches so far that were checked.
    joined: {kind of examples: the largest number of them that were joined and checked}.
    seen: names of the parameters that had a gradient at an example that was checked.
    """

    passes: Passes
    spot_check: int
    parts: int
    asked: int = 0
    uncovered: set[str] = field(default_factory=set)
    sizes: set[int] = field(default_factory=set)
    joined: dict[tuple[Any, ...], int] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    spot_examples: int = 0
    spot_error: float = math.nan
    at_kink: bool = False

    def __post_init__(self) -> None:
        self._ways = Ways(self.passes, self.spot_check)

    def counted(self, batches: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """The batches as they are, their examples counted as they are handed on."""
        if not isinstance(batches, Iterable):
            raise ValueError(
                f"batches: found {type(batches).__name__}, expected a list or a loader of (inputs, targets); the "
                "arguments are a model, a loss function and the batches, in this order"
            )
        for batch in batches:
            require_parts(batch, self.parts)
            self.asked += length(batch[0])
            yield batch

    def checked(self, measured: BatchSums, piece: Piece) -> BatchSums:
        """A batch as it was handed in and measured, put right where a spot check is due and asks for it.

        Compared are, of a batch of more than one example (a single one is measured as the loop does):

        - gradients, in the first batch and where parameters have some that no checked example has shown yet;
        - the losses of all examples that may go another way alone, of a batch in doubt (ways.py);
        - the loss of one example, of the first batch of another size;
        - the losses of some examples with those in a smaller batch of them, of the first batch.
        """
        n = measured.n
        if not self.spot_check or n == 1:
            return measured
        unseen = self._unseen(measured)
        if not (measured.doubt or unseen or n not in self.sizes):
            return measured
        ways = self._ways.compared(measured, piece.inputs, piece.targets) if measured.doubt else Compared(())
        first = not self.sizes
        at_random = self.spot_check if unseen or first else 0
        all_alone = len(ways.alone) == n
        smaller = first and not all_alone
        seen_already = bool(ways.alone) or n in self.sizes if measured.doubt else smaller
        one = [] if seen_already else drawn(n, 1)
        due = _Due(telling(measured, unseen, at_random), [*ways.alone, *one], smaller=smaller, ways=ways)
        measured = self._compared(due, measured, piece)
        self.sizes.add(n)
        return measured

    def check_joined(self, measured: BatchSums, piece: Piece) -> None:
        """Hold batches that were joined against examples alone, where there is something new.

        They are known to come out as by themselves. Yet of more examples than ever before of a kind the gradient of one
        is looked at, and those of parameters that no example has shown.

        Raises:
            StaysApartError: they disagree.
        """
        unseen, kind = self._unseen(measured), piece.kind
        assert kind is not None
        new = bool(unseen) or measured.n > self.joined.get(kind, 0)
        if not new:
            return
        examples = telling(measured, unseen, 1)
        error = error_alone(self.passes, measured, piece.inputs, piece.targets, examples)
        if error is None:
            raise StaysApartError
        self.joined[kind] = max(measured.n, self.joined.get(kind, 0))
        self._take_spot(shown(measured, examples), len(examples), error)

    def _unseen(self, measured: BatchSums) -> list[str]:
        return [name for name, total in measured.totals.items() if total > 0 and name not in self.seen]

    def _compared(self, due: _Due, measured: BatchSums, piece: Piece) -> BatchSums:
        """The batch after what is due, put right where that asks for it; what was seen is taken in if all is well."""
        batch = (piece.inputs, piece.targets)
        examples = [*due.gradients, *(i for i in due.ways.gradients if i not in due.gradients)]
        seen = shown(measured, examples) if examples else set()
        spot = spot_checked(self.passes, measured, *batch, examples) if examples else None
        if spot is not None:
            measured = spot.measured
        require_same_losses(self.passes, measured, *batch, due.alone)
        for group in due.ways.together:
            require_same_in_a_batch_of(self.passes, measured, *batch, group.examples, group.values)
        if due.smaller:
            require_same_in_a_smaller_batch(self.passes, measured, *batch)
        # All is well. Had a check failed, the next would have to look at the same again.
        if spot is not None:
            self._take_spot(seen, len(examples), spot.relative_error)
            self.at_kink |= spot.at_kink
        self._ways.take(due.ways)
        return measured

    def _take_spot(self, seen: set[str], examples: int, error: float) -> None:
        self.seen.update(seen)
        self.spot_examples += examples
        self.spot_error = float(np.fmax(self.spot_error, error))

    def evidence(
        self, counts: NDArray[np.int64], sum_sq_norms: NDArray[np.float64], group_sums: Sequence[Tensor]
    ) -> Evidence:
        """What the tally and the finished statistics, of which it was kept, are evidence of.

        Args:
            counts: number of examples per group, int64 [G].
            sum_sq_norms: Q per group and parameter, float64 [G, P].
            group_sums: S per parameter, one tensor [G, *parameter shape] each.

        Raises:
            IdentityError: |S|^2 / (n Q) of a group and layer is above 1.
        """
        parameters = self.passes.parameters
        return Evidence(
            examples_asked=self.asked,
            examples_measured=int(counts.sum()),
            parameters_trainable=sum(p.numel() for p in parameters.values()),
            parameters_covered=sum(p.numel() for name, p in parameters.items() if name not in self.uncovered),
            bound_ratio=bound_ratio(
                sq_norms_of_sums(group_sums, len(counts)),
                sum_sq_norms,
                counts,
                tuple(parameters),
                torch.float64 if {s.dtype.to_real() for s in group_sums} == {torch.float64} else torch.float32,
            ),
            spot_examples=self.spot_examples,
            spot_relative_error=self.spot_error,
            spot_at_kink=self.at_kink,
            by_whole_model=tuple(name for name in parameters if name in self.passes.capture.routed),
        )
