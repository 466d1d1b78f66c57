"""One forward and backward pass per batch: sums of gradients and per-example squared norms of every parameter.

Index letters: n examples of a batch, k examples of the spot check.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mcoherence.gradients.capture import Capture, UnsupportedModelError
from mcoherence.gradients.evidence import is_sum_of_rows, spot_errors, tolerance
from mcoherence.gradients.fallback import WholeModel
from mcoherence.gradients.reference import LossFunction, loss_and_gradients


@dataclass(frozen=True)
class Measured:
    """One batch of n examples; parameters that take no part in its losses are missing, their gradients are 0.

    squared_norms: {parameter name: |g_i|^2, float64 [n]}; sums: {parameter name: sum_i g_i, [*parameter shape]}.
    """

    n: int
    squared_norms: dict[str, Tensor]
    sums: dict[str, Tensor]


class Sweep:
    """Passes through one model in eval mode; its hooks are in place inside `capture.active()`."""

    def __init__(self, model: nn.Module, loss_fn: LossFunction) -> None:
        self.model = model
        self.loss_fn = _with_targets_at_outputs(loss_fn)
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.capture = Capture(model)
        self.whole_model = WholeModel(model, self.loss_fn)
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def measure(self, inputs: Tensor, targets: Tensor) -> Measured:
        """Sums of gradients and squared norms of one batch, inputs [n, ...] and targets [n, ...].

        Raises:
            UnsupportedModelError: the gradients of the examples do not add up to that of the batch.
            ValueError: the losses are not one per example.
        """
        n, inputs = len(inputs), inputs.detach().to(self.device)
        with torch.enable_grad(), self.capture.recording(n):
            losses = self.loss_fn(self.model(inputs), targets)
        if losses.shape != (n,):
            raise ValueError(
                f"loss_fn: found losses of shape {tuple(losses.shape)}, expected one per example, ({n},); "
                'use reduction="none"'
            )
        if not (losses.requires_grad and self.parameters):
            return Measured(n, {}, {})
        self.capture.route(losses)
        in_hooks = self.capture.summed()
        # Autograd has to be asked for something, or no hook is called.
        by_autograd = [name for name in self.parameters if name not in in_hooks] or [next(iter(self.parameters))]
        gradients = torch.autograd.grad(
            losses.sum(), [self.parameters[name] for name in by_autograd], allow_unused=True
        )
        sums = {
            name: gradient.to_dense() if gradient.is_sparse else gradient
            for name, gradient in zip(by_autograd, gradients, strict=True)
            if gradient is not None
        } | self.capture.sums()
        if in_hooks - sums.keys():  # a layer that was to sum and could not; once routed, autograd sums for it
            self.capture.routed.update(in_hooks - sums.keys())
            return self.measure(inputs, targets)
        norms, rows = self.capture.collected()
        if rows:
            whole = _total(norms)
            self.capture.routed.update(
                name for name, value in rows.items() if name in sums and not is_sum_of_rows(sums[name], value, whole)
            )
        return self._completed(Measured(n, norms, sums), inputs, targets)

    def spot_checked(
        self, norms: dict[str, Tensor], inputs: Tensor, targets: Tensor, examples: int
    ) -> tuple[dict[str, Tensor], float]:
        """The batch's |g_i|^2, with k random examples of them held against the loop, and the largest relative error.

        Parameters that disagree (a module whose first axis is not that of the examples, though as long) are measured
        through the whole model from here on. Which examples are drawn is decided by their number alone, so that the
        same call draws the same.

        Raises:
            UnsupportedModelError: they disagree even so.
        """
        inputs, n = inputs.detach().to(self.device), len(inputs)
        chosen = torch.randperm(n, generator=torch.Generator().manual_seed(n))[:examples]
        exact = self._loop_norms(inputs[chosen.to(inputs.device)], targets[chosen.to(targets.device)])
        wrong = self._disagreeing(norms, exact, chosen)
        if wrong:
            self.capture.routed.update(wrong)
            norms = self.measure(inputs, targets).squared_norms
            wrong = self._disagreeing(norms, exact, chosen)
        if wrong:
            name, error = next(iter(wrong.items()))
            raise UnsupportedModelError(
                f"parameter {name!r}: the squared norm of an example's gradient is {error:.3g} off that of the example "
                f"passed through the model alone; {_MIXED}"
            )
        errors = self._errors(norms, exact, chosen)
        return norms, max(errors.values(), default=0.0)

    def _loop_norms(self, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """|g_i|^2 {parameter name: float64 [k]} of k examples, one forward and backward pass for each."""
        norms: dict[str, list[Tensor]] = {name: [] for name in self.parameters}
        for i in range(len(inputs)):
            _, gradients = loss_and_gradients(
                self.model, self.loss_fn, self.parameters, inputs[i : i + 1], targets[i : i + 1]
            )
            for name, gradient in gradients.items():
                norms[name].append(torch.linalg.vector_norm(gradient, dtype=torch.float64).square())
        return {name: torch.stack(values) for name, values in norms.items()}

    def _errors(self, norms: Mapping[str, Tensor], exact: Mapping[str, Tensor], chosen: Tensor) -> dict[str, float]:
        found = {name: value[chosen.to(value.device)] for name, value in norms.items()}
        return spot_errors(found, exact, {name: p.dtype for name, p in self.parameters.items()})

    def _disagreeing(
        self, norms: Mapping[str, Tensor], exact: Mapping[str, Tensor], chosen: Tensor
    ) -> dict[str, float]:
        """{parameter name: relative error} where it is more than rounding (NaN included)."""
        errors = self._errors(norms, exact, chosen)
        return {name: error for name, error in errors.items() if not error <= tolerance(self.parameters[name].dtype)}

    def _completed(self, measured: Measured, inputs: Tensor, targets: Tensor) -> Measured:
        """The batch with every parameter in `sums` measured: what the calls do not account for by the whole model."""
        sums = measured.sums
        norms = {
            name: value
            for name, value in measured.squared_norms.items()
            if name in sums and name not in self.capture.routed
        }
        missing = {name: self.parameters[name] for name in sums if name not in norms}
        if missing:
            whole = _total(norms)
            rows = self.whole_model.rows(
                missing, inputs, targets, lambda name, value: is_sum_of_rows(sums[name], value, whole)
            )
            for name, value in rows.items():
                if not is_sum_of_rows(sums[name], value, whole):
                    raise UnsupportedModelError(
                        f"parameter {name!r}: the gradients of the examples, each passed through the model alone, do "
                        f"not add up to the gradient of the batch; {_MIXED}"
                    )
                norms[name] = value.squared_norms
        return Measured(measured.n, norms, sums)


def _total(norms: Mapping[str, Tensor]) -> float:
    """Sum of |g_i|^2 over the examples and over the parameters {name: |g_i|^2, float64 [n]}."""
    return sum(float(value.sum()) for value in norms.values())


_MIXED = (
    "the model or the loss mixes the examples of a batch, or draws random numbers, even in eval mode; "
    "make the loss of an example depend on that example alone"
)


def _with_targets_at_outputs(loss_fn: LossFunction) -> LossFunction:
    """The loss with targets moved to the device that the outputs are on; a model may span several."""

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        return loss_fn(outputs, targets.to(outputs.device) if isinstance(outputs, Tensor) else targets)

    return losses
