"""Examples of a batch measured once more, each passed through the model alone: it would show a rule that is wrong.

Index letters: n examples of a batch, k of them that are measured again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mcoherence.gradients.evidence import spot_errors, tolerance
from mcoherence.gradients.passes import Passes
from mcoherence.gradients.reference import LossFunction, loss_and_gradients
from mcoherence.gradients.refusal import MIXED, UnsupportedModelError

Norms = Mapping[str, Tensor]  # {parameter name: |g_i|^2, float64}


@dataclass(frozen=True)
class SpotCheck:
    """What came of it.

    squared_norms: of the batch, {parameter name: |g_i|^2, float64 [n]}.
    relative_error: the largest of a parameter's |g_i|^2 of the examples; of those at a kink, where that of an example
        alone is another, against the gradient of their own loss in the batch.
    at_kink: whether there are such examples: an activation's input is within rounding of where its derivative jumps (0,
        for a ReLU), and rounding depends on the batch. In float64 their gradients are one and the same.
    """

    squared_norms: dict[str, Tensor]
    relative_error: float
    at_kink: bool


@dataclass(frozen=True)
class Batch:
    """What the gradients of a batch's examples are taken of: inputs [n, ...] and targets [n, ...]."""

    model: Callable[[Tensor], Tensor]
    loss_fn: LossFunction
    parameters: Mapping[str, Tensor]
    inputs: Tensor
    targets: Tensor

    def norms_alone(self, chosen: Sequence[int]) -> dict[str, Tensor]:
        """|g_i|^2 {parameter name: float64 [k]} of the chosen examples, one forward and backward pass for each."""
        alone = [(self.inputs[i : i + 1], self.targets[i : i + 1]) for i in chosen]
        return self._norms([loss_and_gradients(self.model, self.loss_fn, self.parameters, *one)[1] for one in alone])

    def norms_within(self, chosen: Sequence[int]) -> dict[str, Tensor]:
        """|g_i|^2 {parameter name: float64 [k]} of the chosen examples' own losses in one pass of the whole batch."""
        with torch.enable_grad():
            losses = self.loss_fn(self.model(self.inputs), self.targets)
        rows = []
        for i in chosen:
            found = torch.autograd.grad(losses[i], list(self.parameters.values()), retain_graph=True, allow_unused=True)
            named = zip(self.parameters.items(), found, strict=True)
            rows.append({name: torch.zeros_like(p) if g is None else g.to_dense() for (name, p), g in named})
        return self._norms(rows)

    def _norms(self, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {
            name: torch.stack([torch.linalg.vector_norm(row[name], dtype=torch.float64).square() for row in rows])
            for name in self.parameters
        }


def spot_checked(passes: Passes, norms: dict[str, Tensor], inputs: Tensor, targets: Tensor, examples: int) -> SpotCheck:
    """Hold the batch's |g_i|^2 of k random examples against those of the examples alone.

    Parameters that a rule misreads (a module whose first axis is not that of the examples, though as long) are measured
    through the whole model from here on. Which examples are drawn is decided by their number alone, so that the same
    call draws the same.

    Raises:
        UnsupportedModelError: they disagree, and by more than rounding.
    """
    inputs, n = inputs.detach().to(passes.device), len(inputs)
    chosen = torch.randperm(n, generator=torch.Generator().manual_seed(n))[:examples].tolist()
    dtypes = {name: p.dtype for name, p in passes.parameters.items()}

    def errors(found: Norms, expected: Norms) -> dict[str, float]:
        return spot_errors({name: value[chosen] for name, value in found.items()}, expected, dtypes)

    batch = Batch(passes.model, passes.loss_fn, passes.parameters, inputs, targets)
    alone = batch.norms_alone(chosen)
    found = errors(norms, alone)
    if not beyond_rounding(found, dtypes):
        return SpotCheck(norms, max(found.values(), default=0.0), at_kink=False)
    within = batch.norms_within(chosen)
    if misread := beyond_rounding(errors(norms, within), dtypes):
        passes.capture.routed.update(misread)
        norms = passes.measure(inputs, targets).squared_norms
    against_alone, against_within = errors(norms, alone), errors(norms, within)
    found = {name: min(error, against_within[name]) for name, error in against_alone.items()}
    wrong = beyond_rounding(found, dtypes)
    at_kink = bool(beyond_rounding(against_alone, dtypes))
    if wrong or (at_kink and not agree_in_float64(passes.model, batch, chosen)):
        name, error = next(iter((wrong or beyond_rounding(against_alone, dtypes)).items()))
        raise UnsupportedModelError(
            f"parameter {name!r}: the squared norm of an example's gradient is {error:.3g} off that of the example "
            f"passed through the model alone; {MIXED}"
        )
    return SpotCheck(norms, max(found.values(), default=0.0), at_kink)


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
    try:
        double = in_float64(model, batch)
        errors = spot_errors(double.norms_within(chosen), double.norms_alone(chosen), dtypes)
    except (RuntimeError, TypeError):  # float64 meets another dtype, or the device has none
        return False
    return not beyond_rounding(errors, dtypes)


def in_float64(model: nn.Module, batch: Batch) -> Batch:
    """The same batch and weights in float64; the model itself stays as it is."""
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    double = {name: _double(value.detach()) for name, value in state.items()}
    parameters = {name: double[name].requires_grad_() for name in batch.parameters}

    def run(inputs: Tensor) -> Tensor:
        outputs: Tensor = functional_call(model, double, (inputs,))
        return outputs

    return Batch(run, batch.loss_fn, parameters, _double(batch.inputs), batch.targets)


def _double(values: Tensor) -> Tensor:
    return values.double() if values.is_floating_point() else values
