"""Gradients of a batch's examples held against those of the examples alone: they would show a rule that is wrong.

Index letters: n examples of a batch, k of them that are measured again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mcoherence.device import is_of_device
from mcoherence.gradients.batch.evidence import spot_errors, sums_of_rows, tolerance
from mcoherence.gradients.batch.passes import BatchSums, Passes
from mcoherence.gradients.checks.batch_again import Batch, batch_again, found_in_float64
from mcoherence.gradients.checks.chosen_examples import chosen_norms
from mcoherence.gradients.given.refusal import MIXED, UnsupportedModelError
from mcoherence.gradients.given.trees import Tree

Norms = Mapping[str, Tensor]  # {parameter name: |g_i|^2, float64}


@dataclass(frozen=True)
class SpotCheck:
    """What came of it.

    measured: the batch, measured once more where a rule had misread it.
    relative_error: the largest of a parameter's |g_i|^2 of the examples; of those at a kink, where that of an example
        alone is another, against the gradient of their own loss in the batch.
    at_kink: whether there are such examples: an activation's input is within rounding of where its derivative jumps (0,
        for a ReLU), and rounding depends on the batch. In float64 their gradients are one and the same.
    """

    measured: BatchSums
    relative_error: float
    at_kink: bool


def spot_checked(passes: Passes, measured: BatchSums, inputs: Tree, targets: Tree, chosen: Sequence[int]) -> SpotCheck:
    """Hold the batch's |g_i|^2 of k chosen examples against those of the examples alone.

    Where a rule misreads parameters, they are measured through the whole model from here on, and the batch, sums and
    all, is measured once more.

    Raises:
        UnsupportedModelError: they disagree, and by more than rounding.
    """
    dtypes = {name: p.dtype for name, p in passes.parameters.items()}

    def errors(found: BatchSums, expected: Norms) -> dict[str, float]:
        return spot_errors(chosen_norms(found, chosen), expected, dtypes)

    batch = batch_again(passes, inputs, targets)
    alone = batch.norms_alone(chosen)
    found = errors(measured, alone)
    if not beyond_rounding(found, dtypes):
        return SpotCheck(measured, max(found.values(), default=0.0), at_kink=False)
    within = batch.norms_within(chosen)
    if misread := beyond_rounding(errors(measured, within), dtypes):
        passes.capture.routed.update(misread)
        measured = passes.measure(inputs, targets)
    against_alone, against_within = errors(measured, alone), errors(measured, within)
    found = {name: min(error, against_within[name]) for name, error in against_alone.items()}
    wrong = beyond_rounding(found, dtypes)
    at_kink = bool(beyond_rounding(against_alone, dtypes))
    if wrong or (at_kink and not agree_in_float64(passes.model, batch, chosen)):
        name, error = next(iter((wrong or beyond_rounding(against_alone, dtypes)).items()))
        raise UnsupportedModelError(
            f"parameter {name!r}: the squared norm of an example's gradient is {error:.3g} off that of the example "
            f"passed through the model alone; {MIXED}"
        )
    return SpotCheck(measured, max(found.values(), default=0.0), at_kink)


def require_same_sums(passes: Passes, inputs: Tree, targets: Tree, chosen: Sequence[int]) -> None:
    """Hold the gradient of chosen examples as a batch of their own against the sum of those of the examples alone.

    A backward pass of somebody's own may turn the gradients of a batch around, which no length of one shows.

    Raises:
        UnsupportedModelError: they disagree, and by more than rounding.
    """
    batch = batch_again(passes, inputs, targets)
    try:
        together = batch.sums_together(chosen)
    except Exception as error:  # models that take batches of some sizes only
        of_device = is_of_device(error)
        if of_device:
            raise
        return
    alone = {name: rows for name, rows in batch.rows_alone(chosen).items() if name in together}
    if astray := sums_of_rows(alone, together, 0.0).astray:
        raise UnsupportedModelError(
            f"parameter {astray[0]!r}: the gradients of {len(chosen)} examples, each passed through the model alone, "
            f"do not add up to that of the batch of them; {MIXED}"
        )


def error_alone(
    passes: Passes, measured: BatchSums, inputs: Tree, targets: Tree, chosen: Sequence[int]
) -> float | None:
    """The largest relative error of the chosen examples' |g_i|^2 against those alone; None beyond rounding."""
    dtypes = {name: p.dtype for name, p in passes.parameters.items()}
    alone = batch_again(passes, inputs, targets).norms_alone(chosen)
    found = spot_errors(chosen_norms(measured, chosen), alone, dtypes)
    return None if beyond_rounding(found, dtypes) else max(found.values(), default=0.0)


def beyond_rounding(errors: Mapping[str, float], dtypes: Mapping[str, torch.dtype]) -> dict[str, float]:
    """{parameter name: relative error} of those that rounding does not explain (NaN included)."""
    return {name: error for name, error in errors.items() if not error <= tolerance(dtypes[name])}


def agree_in_float64(model: nn.Module, batch: Batch, chosen: Sequence[int]) -> bool:
    """Whether the chosen examples' gradients are the same alone and in the batch, in a precision that is beyond doubt.

    False where they are not, and where it cannot be had: a model in float64 already, or one that insists on another.
    """
    dtypes = dict.fromkeys(batch.parameters, torch.float64)
    if all(p.dtype == torch.float64 for p in batch.parameters.values()):
        return False
    errors = found_in_float64(
        model, batch, lambda double: spot_errors(double.norms_within(chosen), double.norms_alone(chosen), dtypes)
    )
    return errors is not None and not beyond_rounding(errors, dtypes)
