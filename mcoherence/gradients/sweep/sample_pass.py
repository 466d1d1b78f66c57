"""One pass over a sample, as every measurement makes it: the model prepared and left as found, batches, checks, sums.

Index letters: n examples of a batch, G groups, P parameters.
"""

import copy
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from mcoherence.device import describe_device, has_no_float64
from mcoherence.errors import UserError
from mcoherence.gradients.batch.group_sums import GroupSums
from mcoherence.gradients.batch.joined_pass import NetworkChangedError, StaysApartError, measure_joined
from mcoherence.gradients.batch.passes import BatchSums, Passes
from mcoherence.gradients.given.eval_mode import eval_mode
from mcoherence.gradients.given.fingerprint import fingerprint
from mcoherence.gradients.given.losses import LossFunction
from mcoherence.gradients.given.model_state import ModelState, state_kept
from mcoherence.gradients.given.pieces import Piece, as_one
from mcoherence.gradients.given.refusal import (
    UnsupportedModelError,
    no_graph_kept,
    refuse_loss_in_training_mode,
    refuse_unsupported,
)
from mcoherence.gradients.given.trees import leaves, length, require_parts
from mcoherence.gradients.given.wrappers import plain_names, unwrapped
from mcoherence.gradients.sweep.grouping import batches_of_one_group
from mcoherence.gradients.sweep.small_batches import SmallBatches
from mcoherence.gradients.sweep.sources import BatchSource, source_of
from mcoherence.gradients.sweep.tally import Tally
from mcoherence.precision import float32_products, precision_name

WHOLE_SAMPLE = "all"


@dataclass(frozen=True)
class Measuring:
    """A model while it is measured.

    passes: through it, hooks in place.
    names: {name of a trainable parameter: the same without the prefixes of wrappers}.
    fingerprint: digest of its weights and buffers; "" where none was made.
    device, fp32_precision: what computes, and what float32 products are on it, as files record it.
    """

    passes: Passes
    names: dict[str, str]
    fingerprint: str
    device: str
    fp32_precision: str
    _state: ModelState

    def require_unchanged(self) -> None:
        """Raise UnsupportedModelError if the passes so far have changed buffers, or weights that have a fingerprint."""
        self._state.require_unchanged(every_value=True)
        if self.fingerprint and fingerprint(self.passes.model) != self.fingerprint:
            raise UnsupportedModelError(
                "a forward pass writes to weights in eval mode, behind autograd's back (by `.data`, say), so that "
                "examples were measured at different weights; take that out of the forward pass. The weights stay as "
                "they are now"
            )


@contextmanager
def measuring(model: nn.Module, loss_fn: LossFunction, *, tf32: bool) -> Iterator[Measuring]:
    """The model in eval mode, with a fingerprint, ready to be measured, inside the block; left as found after it.

    Raises:
        UnsupportedModelError: it cannot be measured; the message names the module and the way out.
    """
    with prepared(model, loss_fn, tf32=tf32) as now:
        yield replace(now, fingerprint=fingerprint(now.passes.model))


@contextmanager
def prepared(model: nn.Module, loss_fn: LossFunction, *, tf32: bool) -> Iterator[Measuring]:
    """As `measuring`, without a fingerprint: weights written to behind autograd's back are not found.

    Raises:
        UnsupportedModelError: it cannot be measured; the message names the module and the way out.
    """
    model = unwrapped(model)
    refuse_unsupported(model)
    refuse_loss_in_training_mode(loss_fn)
    model = _where_float64_is(model)
    with float32_products(tf32), eval_mode(model) as state, state_kept(loss_fn):
        passes = Passes(model, loss_fn, state)
        plain = plain_names(model)
        with passes.capture.active(), no_graph_kept():
            names = {name: plain[name] for name in passes.parameters}
            where = describe_device(next((p.device for p in passes.parameters.values()), torch.device("cpu")))
            yield Measuring(passes, names, "", where, precision_name(tf32), state)


def measured_batches(
    passes: Passes, tally: Tally, batches: Iterable[tuple[Any, ...]], groups: Sequence[str] | None
) -> Iterator[tuple[Piece, BatchSums]]:
    """The examples of the batches, of one group each time, and what was measured of them."""
    source = source_of(batches)
    small = SmallBatches(passes, undisturbed=source.runs_no_code, checked=bool(tally.checks.spot_check))
    for parts in small.shared_out(pieces(tally.counted(source.batches), groups)):
        for piece, measured in _measured(passes, tally, small, parts, source):
            tally.take(measured)
            yield piece, measured


def _measured(
    passes: Passes, tally: Tally, small: SmallBatches, parts: Sequence[Piece], source: BatchSource
) -> Iterable[tuple[Piece, BatchSums]]:
    before = source.versions()
    together = _joined(passes, tally, small, parts) if len(parts) > 1 else None
    if len(parts) > 1 and source.versions() != before:
        raise ValueError(
            "batches: the loss function writes to the data set that they come from, and later ones have been read from "
            "it, expected one that leaves it as it is; give it a copy, or hand in a list of batches"
        )
    return _one_by_one(passes, tally, small, parts) if together is None else [together]


# What code of torch's, of this project and of a loss function raises of what it is given. Others are of a kind of the
# user's own, such as a time limit by a signal, and end the call.
_OF_A_BATCH = (
    *(StaysApartError, UserError, ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError),
    *(RuntimeError, TypeError, ValueError),
)


def _joined(
    passes: Passes, tally: Tally, small: SmallBatches, parts: Sequence[Piece]
) -> tuple[Piece, BatchSums] | None:
    """The parts as one batch; None where the model does not take them so, or where something else is wrong."""
    capture, before = passes.capture, [_versions(part) for part in parts]
    routed, careful = set(capture.routed), capture.careful
    try:
        whole = as_one(parts)
        found = measure_joined(passes, whole.inputs, [part.targets for part in parts])
        if [_versions(part) for part in parts] != before:
            raise StaysApartError
        tally.checks.check_joined(found, whole)
        return whole, found
    except NetworkChangedError:
        raise
    except _OF_A_BATCH:  # of these examples or of their number: their batches show what is wrong, if anything is
        passes.undo()
        capture.routed, capture.careful = routed, careful
        small.stop()
        return None


def _one_by_one(
    passes: Passes, tally: Tally, small: SmallBatches, parts: Sequence[Piece]
) -> Iterator[tuple[Piece, BatchSums]]:
    for part in parts:
        # What is kept of a pass is kept beyond the time that a loader lets its tensors be.
        piece = part.copied() if passes.capture.keeping else part
        before = _versions(piece)
        measured = passes.measure(piece.inputs, piece.targets, counting=small.counts(piece))
        measured = tally.checks.checked(measured, piece)
        small.learn(piece, measured, written=_versions(piece) != before)
        yield piece, measured


def _versions(piece: Piece) -> list[int]:
    """How often each of a piece's tensors has been written to."""
    return [leaf._version for leaf in leaves((piece.inputs, piece.targets)) if not leaf.is_inference()]


def pieces(batches: Iterable[tuple[Any, ...]], groups: Sequence[str] | None) -> Iterator[Piece]:
    """The batches as pieces of one group each; without groups as they are, less empty ones."""
    if groups is None:
        for positions, batch in _numbered(batches):
            if len(positions):
                yield Piece(0, batch[0], batch[1], positions)
    else:
        numbered = ((batch[0], (batch[1], positions), batch[2]) for positions, batch in _numbered(batches))
        for group, inputs, (targets, positions) in batches_of_one_group(numbered, groups):
            yield Piece(group, inputs, targets, positions)


def checked_batches(batches: Iterable[tuple[Any, ...]], groups: Sequence[str] | None) -> Iterator[tuple[Any, ...]]:
    """The batches as they are; ValueError where one is not (inputs, targets) or, with groups, has no group ids."""
    for batch in batches:
        require_parts(batch, 2 if groups is None else 3)
        yield batch


def require_known_order(batches: object) -> None:
    """Raise ValueError for a loader that shuffles: what is known of each example would be nobody's."""
    sampler = getattr(batches, "sampler", None)
    if isinstance(sampler, RandomSampler | SubsetRandomSampler | WeightedRandomSampler):
        raise ValueError(
            f"batches: found a loader with a {type(sampler).__name__}, expected one that does not shuffle, since each "
            "row of the result is the example at that place; make one with shuffle=False"
        )


def _numbered(batches: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Tensor, tuple[Any, ...]]]:
    start = 0
    for batch in batches:
        n = length(batch[0])
        yield torch.arange(start, start + n), batch
        start += n


class Totals:
    """Q and S by group and parameter, added up batch by batch.

    counts: int64 [G]; sum_sq_norms: float64 [G, P].
    """

    def __init__(self, groups: int, parameters: dict[str, nn.Parameter]) -> None:
        self.counts = np.zeros(groups, dtype=np.int64)
        self.sum_sq_norms = np.zeros((groups, len(parameters)))
        self.sums = GroupSums(groups, parameters)
        self._parameters = parameters

    def add(self, group: int, measured: BatchSums) -> None:
        """Add a batch of one group."""
        self.sums.add(group, measured.sums)
        self.counts[group] += measured.n
        for index, name in enumerate(self._parameters):
            self.sum_sq_norms[group, index] += measured.totals.get(name, 0.0)

    def require_examples(self) -> None:
        """Raise ValueError if there were none."""
        if not self.counts.sum():
            raise ValueError(
                "batches: found no examples, expected at least one; an iterator that was used before is empty"
            )


def group_names(groups: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the groups; ValueError for none, for one twice, or for a string in their place."""
    if groups is None:
        return (WHOLE_SAMPLE,)
    names = tuple(groups)
    if isinstance(groups, str) or not names or len(set(names)) < len(names):
        raise ValueError(f"groups: found {groups!r}, expected a list of different names, one or more")
    return names


def indices_of_groups(chosen: Sequence[str] | None, names: Sequence[str]) -> list[int]:
    """Positions in `names` of the chosen groups (None: all), in their order; ValueError for one that is not there."""
    if isinstance(chosen, str):
        raise ValueError(f"groups: found the string {chosen!r}, expected a sequence of names")
    unknown = set(chosen or ()) - set(names)
    if unknown:
        raise ValueError(f"groups: found {sorted(unknown)}, expected names out of {list(names)}")
    return [i for i, name in enumerate(names) if chosen is None or name in chosen]


def _where_float64_is(model: nn.Module) -> nn.Module:
    """The model, or a copy of it on the processor where it is on an Apple GPU: squared norms are float64."""
    if not any(has_no_float64(p.device) for p in model.parameters()):
        return model
    warnings.warn("measuring on the processor: Apple's GPU has no float64", stacklevel=4)
    return copy.deepcopy(model).cpu()
