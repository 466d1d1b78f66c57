"""Examples of a batch measured once more, each passed through the model alone: it would show a rule that is wrong.

Index letters: n examples of a batch, k of them that are measured again.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mcoherence.device import is_of_device, sent
from mcoherence.gradients.directions import Directions, products_of_rows
from mcoherence.gradients.evidence import spot_errors, tolerance
from mcoherence.gradients.layer_rules.products import sure_squared_norms
from mcoherence.gradients.passes import BatchSums, Passes
from mcoherence.gradients.reference import LossFunction, dense, loss_alone, loss_and_gradients, require_same_alone
from mcoherence.gradients.refusal import MIXED, UnsupportedModelError
from mcoherence.gradients.trees import Tree, arguments, mapped, outputs_of, rows
from mcoherence.gradients.watching import Value, typed

Norms = Mapping[str, Tensor]  # {parameter name: |g_i|^2, float64}
MOST_ADDED = 4
MOST_IN_A_CHECK = 16


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


@dataclass(frozen=True)
class Batch:
    """What the gradients of a batch's examples are taken of: inputs [n, ...] and targets [n, ...], or trees of them."""

    model: Callable[[Tree], Any]
    loss_fn: LossFunction
    parameters: Mapping[str, Tensor]
    inputs: Tree
    targets: Tree

    def norms_alone(self, chosen: Sequence[int]) -> dict[str, Tensor]:
        """|g_i|^2 {parameter name: float64 [k]} of the chosen examples, one forward and backward pass for each."""
        found = []
        for i, (loss, gradients) in zip(chosen, self._alone(chosen), strict=True):
            require_same_alone(self.model, self.loss_fn, *self._one(i), loss)
            found.append(gradients)
        return self._norms(found)

    def norms_within(self, chosen: Sequence[int]) -> dict[str, Tensor]:
        """|g_i|^2 {parameter name: float64 [k]} of the chosen examples' own losses in one pass of the whole batch."""
        return self._norms(list(self._gradients_within(chosen)))

    def products_alone(self, chosen: Sequence[int], directions: Directions) -> dict[str, Tensor]:
        """g_i . V_d {layer: float64 [D, k]} of the chosen examples, one forward and backward pass for each."""
        gradients = (one for _, one in self._alone(chosen))
        return products_of_rows(({name: g.unsqueeze(0) for name, g in one.items()} for one in gradients), directions)

    def _alone(self, chosen: Sequence[int]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        for i in chosen:
            yield loss_and_gradients(self.model, self.loss_fn, self.parameters, *self._one(i))

    def products_within(self, chosen: Sequence[int], directions: Directions) -> dict[str, Tensor]:
        """g_i . V_d {layer: float64 [D, k]} of the same gradients with directions."""
        gradients = self._gradients_within(chosen)
        return products_of_rows(({name: g.unsqueeze(0) for name, g in one.items()} for one in gradients), directions)

    def _gradients_within(self, chosen: Sequence[int]) -> Iterator[dict[str, Tensor]]:
        with torch.enable_grad():
            losses = self.loss_fn(outputs_of(self.model, self.inputs), self.targets)
        for i in chosen:
            found: Sequence[Tensor | None] = [None] * len(self.parameters)
            if losses.requires_grad:
                wanted = list(self.parameters.values())
                found = torch.autograd.grad(losses[i], wanted, retain_graph=True, allow_unused=True)
            named = zip(self.parameters.items(), found, strict=True)
            yield {name: torch.zeros_like(p) if g is None else dense(g) for (name, p), g in named}

    def losses(self, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The losses [k] of the chosen examples in the batch, and alone."""
        with torch.enable_grad():
            within = self.loss_fn(outputs_of(self.model, self.inputs), self.targets)[list(chosen)]
            alone = [loss_alone(self.model, self.loss_fn, *self._one(i)) for i in chosen]
        return within.detach(), torch.cat([loss.detach() for loss in alone])

    def _one(self, i: int) -> tuple[Tree, Tree]:
        return rows(self.inputs, slice(i, i + 1)), rows(self.targets, slice(i, i + 1))

    def _norms(self, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {
            name: torch.cat([sure_squared_norms(row[name].detach().unsqueeze(0)) for row in rows])
            for name in self.parameters
        }


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

    batch = _batch(passes, inputs, targets)
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


def require_same_losses(
    passes: Passes, measured: BatchSums, inputs: Tree, targets: Tree, chosen: Sequence[int]
) -> None:
    """Hold the losses of chosen examples of a batch against those of the examples alone: forward passes without graph.

    Raises:
        UnsupportedModelError: they disagree, and by more than rounding; float64 decides where it can be had.
    """
    if not chosen:
        return
    dtype = measured.losses.dtype
    alone = passes.losses_alone(inputs, targets, chosen)
    suspects = _others(measured, chosen, alone)
    if not suspects:
        return
    if dtype != torch.float64:
        try:
            within, alone = in_float64(passes.model, _batch(passes, inputs, targets)).losses(suspects)
            if not apart(within, alone, torch.float64).any():
                return
        except (RuntimeError, TypeError, UnsupportedModelError):  # float64 meets another dtype, or the device has none
            pass
    raise UnsupportedModelError(
        f"the loss of example {suspects[0]} of a batch of {measured.n} is another when the example is passed through "
        f"the model alone; {MIXED}"
    )


def require_same_in_a_smaller_batch(passes: Passes, measured: BatchSums, inputs: Tree, targets: Tree) -> None:
    """Hold losses of half of a batch, MOST_IN_A_CHECK at most, against those of these examples as a batch of their own.

    One forward pass shows losses that come back in another order than the examples, and those that mix examples in a
    way that leaves the gradient of a single one as it is. It does not where the half is in the same order, such as the
    two outer examples of three that are reversed; so the first example is looked at alone besides. Of two or three
    examples the last one is the half, lest what it takes over from those before it go unseen.

    Raises:
        UnsupportedModelError: they disagree, and the examples alone say so too.
    """
    n = measured.n
    chosen = sorted(drawn(n, min(n // 2, MOST_IN_A_CHECK))) if n > 3 else [n - 1]
    suspects = _others_together(passes, measured, inputs, targets, chosen)
    require_same_losses(passes, measured, inputs, targets, sorted({0, *suspects}))


def require_same_in_a_batch_of(
    passes: Passes,
    measured: BatchSums,
    inputs: Tree,
    targets: Tree,
    chosen: Sequence[int],
    reads: Sequence[Value] | None = None,
) -> None:
    """Hold losses of some examples of a batch against those in a batch of these examples.

    Where each would read the values `reads` alone, and that batch reads something else, the examples alone are taken in
    its place.

    Raises:
        UnsupportedModelError: they disagree, and the examples alone say so too.
    """
    suspects = _others_together(passes, measured, inputs, targets, chosen, reads)
    require_same_losses(passes, measured, inputs, targets, suspects)


def _others_together(
    passes: Passes,
    measured: BatchSums,
    inputs: Tree,
    targets: Tree,
    chosen: Sequence[int],
    reads: Sequence[Value] | None = None,
) -> list[int]:
    """Which of the chosen examples have other losses in a batch of their own; all where it reads others than `reads`.

    All too where it fails, as models do that take batches of some sizes only.
    """
    try:
        together, found = passes.losses_together(inputs, targets, chosen)
    except Exception as error:
        of_device = is_of_device(error)
        if of_device:
            raise
        return list(chosen)
    if reads is not None and (found is None or typed(found) != typed(reads)):
        return list(chosen)
    return _others(measured, chosen, together)


def _others(measured: BatchSums, chosen: Sequence[int], losses: Tensor) -> list[int]:
    """Which of the chosen examples have other losses [k] than in the batch."""
    off = apart(_chosen_losses(measured, chosen), losses, measured.losses.dtype).tolist()
    return [i for i, wrong in zip(chosen, off, strict=True) if wrong]


def _chosen_losses(measured: BatchSums, chosen: Sequence[int]) -> Tensor:
    return measured.losses.index_select(0, sent(torch.tensor(chosen), measured.losses.device))


def telling(measured: BatchSums, unseen: Sequence[str], k: int) -> list[int]:
    """Which examples of a batch are looked at: k at random, and some that show the parameters which these do not.

    An example whose gradient of a parameter is zero shows nothing of it. So for parameters out of `unseen`, which no
    example that was looked at has shown so far, that with the largest gradient is added, MOST_ADDED of them at most.
    """
    chosen = drawn(measured.n, k)
    if unseen:
        for norms in torch.stack([measured.squared_norms[name] for name in unseen]).cpu():
            if len(chosen) < k + MOST_ADDED and not bool((norms[chosen] > 0).any()):
                chosen.append(int(norms.argmax()))
    return chosen


def shown(measured: BatchSums, examples: Sequence[int]) -> set[str]:
    """Names of the parameters of which one of these examples of the batch has a gradient."""
    norms = chosen_norms(measured, examples)
    if not norms:
        return set()
    any_shown = (torch.stack([*norms.values()]) > 0).any(dim=1)
    return {name for name, it_is in zip(norms, any_shown.tolist(), strict=True) if it_is}


def chosen_norms(measured: BatchSums, examples: Sequence[int]) -> dict[str, Tensor]:
    """|g_i|^2 {parameter name: float64 [k]} of some examples of the batch."""
    index = sent(torch.tensor(examples), measured.losses.device)
    return {name: value.index_select(0, index) for name, value in measured.squared_norms.items()}


def drawn(n: int, k: int) -> list[int]:
    """Which k of n examples are drawn; decided by these numbers alone, so that the same call draws the same."""
    order = torch.randperm(n, generator=torch.Generator("cpu").manual_seed(n), device="cpu")
    return [int(i) for i in order[:k]]


def drawn_of_parts(parts: Sequence[int], seed: int) -> list[int]:
    """The last example of a batch of several parts, and one drawn of each other part, as many as the smallest holds."""
    generator = torch.Generator("cpu").manual_seed(seed)
    ends = list(itertools.accumulate(parts))
    order = torch.randperm(len(parts) - 1, generator=generator, device="cpu").tolist()
    offsets = torch.rand(len(parts), generator=generator, device="cpu").tolist()
    chosen = [ends[i] - 1 - int(parts[i] * offsets[i]) for i in order[: min(parts) - 1]]
    return [*sorted(chosen), ends[-1] - 1]


def _batch(passes: Passes, inputs: Tree, targets: Tree) -> Batch:
    return Batch(passes.model, passes.loss_fn, passes.parameters, passes.at_device(inputs), targets)


def apart(within: Tensor, alone: Tensor, dtype: torch.dtype) -> Tensor:
    """Which losses [k] differ by more than rounding, bool [k]; a small loss is known no better than a larger one."""
    allowed = {torch.float64: 1e-7, torch.float32: 1e-4}.get(dtype, 1e-1)
    scale = torch.maximum(within.abs(), alone.abs()).to(torch.float64)
    return ~((within.to(torch.float64) - alone.to(torch.float64)).abs() <= allowed * (scale + 1e-2))


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
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError):  # float64 meets another dtype, or the device has none
        return False
    return not beyond_rounding(errors, dtypes)


def in_float64(model: nn.Module, batch: Batch) -> Batch:
    """The same batch and weights in float64; the model itself stays as it is."""
    # Ties are kept here and not by functional_call; `parameter_names` says why.
    double: dict[int, Tensor] = {}
    everywhere = {}
    for module_name, module in model.named_modules():
        for name, value in (*module._parameters.items(), *module._buffers.items()):
            if value is not None:
                everywhere[f"{module_name}.{name}".lstrip(".")] = double.setdefault(id(value), _double(value.detach()))
    parameters = {name: everywhere[name].requires_grad_() for name in batch.parameters}

    def run(inputs: Tree) -> Any:
        args, kwargs = arguments(model, inputs)
        return functional_call(model, everywhere, args, kwargs, tie_weights=False)

    return Batch(run, batch.loss_fn, parameters, mapped(_double, batch.inputs), batch.targets)


def _double(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float64)) if _is_narrow(values) else values


def _is_narrow(values: Tensor) -> bool:
    return values.is_floating_point() or values.is_complex()
