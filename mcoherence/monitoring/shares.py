"""One measurement of a probe sample by all ranks: each measures its share, and all hear of every error and divergence.

A single process is rank 0 of 1.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mcoherence.errors import UserError, first_line
from mcoherence.gradients.given.refusal import refuse_unsupported
from mcoherence.gradients.statistics import WHOLE_SAMPLE, GradientStatistics
from mcoherence.measuring.by_examples import diverged_statistics
from mcoherence.monitoring.probe_passes import ProbePasses, weights_are_finite
from mcoherence.monitoring.probe_sample import ProbeSample
from mcoherence.monitoring.ranks import ProbeRanks, nothing_measured


class SharedMeasurement:
    """Measures a sample in groups, as often as it is called, with the ranks that there are."""

    def __init__(
        self, ranks: ProbeRanks, passes: ProbePasses, sample: ProbeSample, groups: Sequence[str] | None
    ) -> None:
        self._ranks, self._passes, self._sample, self._groups = ranks, passes, sample, groups

    def of(self, model: nn.Module, problem: Exception | None) -> tuple[GradientStatistics, str]:
        """The statistics of the whole sample, on ranks but the first those of a share, and what was not finite.

        Every rank must call it. Statistics of a network that has diverged are NaN, and what was not finite is said in
        words; "" where all was.

        Args:
            model: as it is now.
            problem: of this rank, from before; all hear of it first.

        Raises:
            UserError, IdentityError, ValueError: as `gradient_statistics`; on ranks that have none themselves, that
                another has.
        """
        try:
            refuse_unsupported(model)  # first of all, since weights in parts are not the same on all ranks
        except UserError as error:
            problem = problem or error
        self._ranks.require_none_failed(problem)
        with self._ranks.alike(model):
            mine, not_finite = None, ""
            try:
                mine, not_finite = self._of_share(model)
            except Exception as error:
                problem = error
            self._ranks.require_none_failed(problem)
            not_finite = self._ranks.first(not_finite)
            if mine is None or not_finite:
                return diverged_statistics(model, self._group_ids(), self._groups or (WHOLE_SAMPLE,)), not_finite
            return self._ranks.added_up(mine), ""

    def _of_share(self, model: nn.Module) -> tuple[GradientStatistics | None, str]:
        """The statistics of this rank's share; or None, and what of the network is not finite."""
        if not weights_are_finite(model):
            return None, "weights"
        batches = list(self._sample.share(self._ranks.rank, self._ranks.world))
        if not batches:
            return nothing_measured(model, self._groups or (WHOLE_SAMPLE,)), ""
        with _without_autocast({"cpu", *(p.device.type for p in model.parameters())}):
            try:
                return self._passes.statistics(model, batches), ""
            except Exception as error:
                if not self._passes.leaves_range(model, batches):
                    raise
                return None, f"losses or gradients of the probe sample ({first_line(error)})"

    def _group_ids(self) -> NDArray[np.int64]:
        if self._groups is None:
            return np.zeros(self._sample.size, dtype=np.int64)
        return np.concatenate([batch[2].numpy() for batch in self._sample.batches])


@contextmanager
def _without_autocast(devices: set[str]) -> Iterator[None]:
    """Autocast off on these types of devices inside the block; no weights that ours has cast stay in its cache."""
    with ExitStack() as stack:
        for device in sorted(devices):
            stack.enter_context(torch.autocast(device, enabled=False))
        try:
            yield
        finally:
            torch.clear_autocast_cache()
