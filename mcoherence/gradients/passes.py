"""One forward and backward pass per batch: sums of gradients and per-example squared norms of every parameter.

Index letter: n examples of a batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mcoherence.gradients.capture import Capture
from mcoherence.gradients.evidence import is_sum_of_rows
from mcoherence.gradients.fallback import WholeModel
from mcoherence.gradients.reference import LossFunction
from mcoherence.gradients.refusal import MIXED, UnsupportedModelError


@dataclass(frozen=True)
class BatchSums:
    """One batch of n examples; parameters that take no part in its losses are missing, their gradients are 0.

    squared_norms: {parameter name: |g_i|^2, float64 [n]}; sums: {parameter name: sum_i g_i, [*parameter shape]}.
    """

    n: int
    squared_norms: dict[str, Tensor]
    sums: dict[str, Tensor]


class Passes:
    """Passes through one model in eval mode; its hooks are in place inside `capture.active()`."""

    def __init__(self, model: nn.Module, loss_fn: LossFunction) -> None:
        self.model = model
        self.loss_fn = _with_targets_at_outputs(loss_fn)
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.capture = Capture(model)
        self.whole_model = WholeModel(model, self.loss_fn)
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def measure(self, inputs: Tensor, targets: Tensor) -> BatchSums:
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
            return BatchSums(n, {}, {})
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
        return self._completed(BatchSums(n, norms, sums), inputs, targets)

    def _completed(self, measured: BatchSums, inputs: Tensor, targets: Tensor) -> BatchSums:
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
                        f"not add up to the gradient of the batch; {MIXED}"
                    )
                norms[name] = value.squared_norms
        return BatchSums(measured.n, norms, sums)


def _total(norms: Mapping[str, Tensor]) -> float:
    """Sum of |g_i|^2 over the examples and over the parameters {name: |g_i|^2, float64 [n]}."""
    return sum(float(value.sum()) for value in norms.values())


def _with_targets_at_outputs(loss_fn: LossFunction) -> LossFunction:
    """The loss with targets moved to the device that the outputs are on; a model may span several."""

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        return loss_fn(outputs, targets.to(outputs.device) if isinstance(outputs, Tensor) else targets)

    return losses
