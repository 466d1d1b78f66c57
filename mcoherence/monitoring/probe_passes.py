"""Passes over a probe sample again and again: all checks at the first one and now and then, fewer in between.

What `gradient_statistics` checks once for all of a sample's batches, this does once for all of several measurements:
single examples are compared anew where something is new.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mcoherence.gradients.batch.passes import Passes
from mcoherence.gradients.checks.checks import AlreadyChecked
from mcoherence.gradients.given.alone import dense
from mcoherence.gradients.given.eval_mode import eval_mode
from mcoherence.gradients.given.losses import LossFunction
from mcoherence.gradients.given.model_state import state_kept
from mcoherence.gradients.given.trees import fresh, outputs_of, usable
from mcoherence.gradients.statistics import GradientStatistics, statistics_of
from mcoherence.gradients.sweep.sample_pass import Totals, group_names, measured_batches, measuring, prepared
from mcoherence.gradients.sweep.tally import Tally
from mcoherence.monitoring.probe_sample import Batch, not_finite
from mcoherence.precision import float32_products

CHECKED_EVERY = 10  # of so many measurements in a row, one is checked in full


class ProbePasses:
    """`gradient_statistics` of a model's present weights, called again and again with one sample.

    Checked in full, as `gradient_statistics` is, are the first call, every CHECKED_EVERY-th after it, and the first
    after an error. In the calls between, single examples are compared where a parameter has a gradient for the first
    time, where a batch is of a size that was not there before, where more small batches go together than before, where
    examples may read other values than their batch, and where a pass draws random numbers; weights that a pass writes
    to behind autograd's back are not looked for. All else is checked in every call.
    """

    def __init__(self, loss_fn: LossFunction, groups: Sequence[str] | None, spot_check: int, tf32: bool) -> None:
        """Take what stays the same; arguments as those of `gradient_statistics`."""
        self._loss_fn, self._groups = loss_fn, groups
        self._spot_check, self._tf32 = spot_check, tf32
        self._since_check = 0  # calls since the last one that was checked in full, that one among them
        self._before = AlreadyChecked()
        self._routed: frozenset[str] = frozenset()

    def statistics(self, model: nn.Module, batches: Sequence[Batch]) -> GradientStatistics:
        """As `gradient_statistics` returns them; its errors."""
        checked = self._since_check in (0, CHECKED_EVERY)
        if checked:
            self.forget()
        names, since = group_names(self._groups), self._since_check
        self._since_check = 0  # until this one has gone well
        with (measuring if checked else prepared)(model, self._loss_fn, tf32=self._tf32) as now:
            passes = now.passes
            # A parameter whose rule a check has found to misread it stays with the whole model.
            passes.capture.routed.update(self._routed & passes.parameters.keys())
            totals = Totals(len(names), passes.parameters)
            tally = Tally(passes, self._spot_check, 2 if self._groups is None else 3, self._before)
            for piece, measured in measured_batches(passes, tally, batches, self._groups):
                totals.add(piece.group, measured)
            now.require_unchanged()
            found = statistics_of(names, now, totals, tally)
        self._before, self._routed = tally.checks.so_far(), frozenset(passes.capture.routed)
        self._since_check = since + 1
        return found

    def forget(self) -> None:
        """Check the next call in full."""
        self._since_check = 0
        self._before, self._routed = AlreadyChecked(), frozenset()

    def leaves_range(self, model: nn.Module, batches: Sequence[Batch]) -> bool:
        """Whether losses or gradients of the sample are NaN or infinite by the doing of the network.

        They are not where the only examples of which that is so hold numbers that are not finite themselves. False
        also where the passes that would tell fail.
        """
        try:
            with float32_products(self._tf32), eval_mode(model), state_kept(self._loss_fn):
                passes = Passes(model, self._loss_fn)
                return any(_leaves_range(passes, batch) for batch in batches)
        except Exception:  # the error of the measurement itself says more
            return False


def weights_are_finite(model: nn.Module) -> bool:
    """Whether all parameters are finite numbers, as whole ones always are; a GPU is asked once."""
    found = [p.detach() for p in model.parameters() if p.numel() and (p.is_floating_point() or p.is_complex())]
    largest = [_largest(p) for p in found]
    return all(bool(torch.isfinite(torch.stack(ones)).all()) for ones in _by_device(largest))


def _largest(values: Tensor) -> Tensor:
    """The largest |x| as a float64; NaN where one is."""
    real = torch.view_as_real(values) if values.is_complex() else values
    if real.dtype.itemsize == 1:  # float8, which torch cannot compute with
        real = real.to(torch.float32)
    largest: Tensor = torch.linalg.vector_norm(real, ord=torch.inf)
    return largest.to(torch.float64)


def _by_device(values: list[Tensor]) -> list[list[Tensor]]:
    found: dict[torch.device, list[Tensor]] = {}
    for value in values:
        found.setdefault(value.device, []).append(value)
    return list(found.values())


def _leaves_range(passes: Passes, batch: Batch) -> bool:
    inputs, targets = passes.at_device(batch[0]), usable(batch[1])
    losses = passes.loss_fn(outputs_of(passes.model, fresh(inputs)), fresh(targets))
    wrong, own = ~torch.isfinite(losses.detach()).cpu(), not_finite(inputs) | not_finite(targets)
    if wrong.any() or own.any() or not losses.requires_grad:
        return bool((wrong & ~own).any())
    gradients = torch.autograd.grad(losses.sum(), list(passes.parameters.values()), allow_unused=True)
    norms = [torch.linalg.vector_norm(dense(g), dtype=torch.float64) for g in gradients if g is not None]
    return not all(bool(torch.isfinite(norm.square())) for norm in norms)
