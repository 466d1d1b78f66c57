"""Gradient coherence along a run: one fixed sample, measured at every checkpoint, in groups.

Index letters: K checkpoints, G groups, P parameters, L layers, m examples of the training sample.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence.coherence import m_coherence
from mcoherence.data.loading import Examples
from mcoherence.data.random_streams import MEASURED_SAMPLE, random_stream
from mcoherence.gradients.statistics import GradientStatistics, gradient_statistics, layer_of
from mcoherence.run_files import CORRUPT, GROUPS, HELDOUT, PRISTINE

BATCH_SIZE = 256


@dataclass(frozen=True)
class Sample:
    """Positions of the measured examples and their groups.

    index: int64 [m], ascending positions in the part of the data set; group: int64 [m], positions in GROUPS.
    """

    index: NDArray[np.int64]
    group: NDArray[np.int64]


def training_sample(candidates: NDArray[np.int64], changed: NDArray[np.bool_], size: int, seed: int) -> Sample:
    """A sample of at most `size` of the candidates, without replacement, grouped by whether their label was changed.

    Args:
        candidates: positions in the training part, int64; the whole part or a subset.
        changed: mask over the whole training part, bool [N].
        size: number of examples; all candidates where there are fewer.
        seed: the same seed and candidates give the same sample.
    """
    index = _draw(candidates, size, seed)
    return Sample(index, np.where(changed[index], CORRUPT, PRISTINE).astype(np.int64))


def heldout_sample(test_size: int, size: int, seed: int) -> Sample:
    """A sample of at most `size` examples of the test part; all of the group "heldout"."""
    index = _draw(np.arange(test_size), size, seed)
    return Sample(index, np.full(len(index), HELDOUT, dtype=np.int64))


def _draw(candidates: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    count = min(size, len(candidates))
    return np.sort(random_stream(seed, MEASURED_SAMPLE).choice(candidates, size=count, replace=False)).astype(np.int64)


@dataclass(frozen=True)
class CoherenceRecord:
    """The measurements of one run, as coherence.h5 holds them.

    n: int64 [K, G]; sum_sq_norm: float64 [K, G, P]; gram: float64 [K, G, G, P], inner products of the groups' sums.
    """

    parameters: tuple[str, ...]
    n: NDArray[np.int64]
    sum_sq_norm: NDArray[np.float64]
    gram: NDArray[np.float64]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the L layers, in the model's order."""
        return tuple(dict.fromkeys(layer_of(parameter) for parameter in self.parameters))

    @property
    def parameter_layer(self) -> NDArray[np.int64]:
        """Position in `layers` of each parameter's layer, int64 [P]."""
        return np.array([self.layers.index(layer_of(parameter)) for parameter in self.parameters], dtype=np.int64)

    def m_coherence_by_layer(self) -> NDArray[np.float64]:
        """m-coherence per checkpoint, group and layer, float64 [K, G, L]."""
        member = np.eye(len(self.layers))[self.parameter_layer]  # [P, L], 1 where the parameter is in the layer
        return m_coherence(self._squared_norm_of_sum() @ member, self.sum_sq_norm @ member)

    def m_coherence_of_model(self) -> NDArray[np.float64]:
        """m-coherence of all parameters together per checkpoint and group, float64 [K, G]."""
        return m_coherence(self._squared_norm_of_sum().sum(axis=-1), self.sum_sq_norm.sum(axis=-1))

    def _squared_norm_of_sum(self) -> NDArray[np.float64]:
        return np.asarray(np.einsum("kggp->kgp", self.gram))


def record_of(statistics: Sequence[GradientStatistics]) -> CoherenceRecord:
    """The statistics of K checkpoints of one run, stacked."""
    return CoherenceRecord(
        statistics[0].parameters,
        np.stack([one.counts for one in statistics]),
        np.stack([one.sum_sq_norms for one in statistics]),
        np.stack([one.gram for one in statistics]),
    )


def measure(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor, Tensor]]) -> GradientStatistics:
    """Gradient statistics of the cross-entropy of one checkpoint, in the groups GROUPS."""
    return gradient_statistics(model, nn.CrossEntropyLoss(reduction="none"), batches, groups=GROUPS, spot_check=2)


def of_diverged(model: nn.Module, groups: NDArray[np.int64]) -> GradientStatistics:
    """The record of a diverged checkpoint for a sample in these groups, int64 [m]: counts, and NaN for every sum."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return GradientStatistics(
        GROUPS,
        tuple(parameters),
        np.bincount(groups, minlength=len(GROUPS)).astype(np.int64),
        np.full((len(GROUPS), len(parameters)), np.nan),
        tuple(torch.full((), np.nan).expand(len(GROUPS), *p.shape) for p in parameters.values()),
    )


def group_batches(
    images: Examples, targets: Tensor, groups: NDArray[np.int64]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches (inputs [n, ...], targets [n], group ids [n]) of one group each, so that one pass serves each example.

    Args:
        images: the m examples of a sample.
        targets: their labels, int64 [m].
        groups: their groups, int64 [m].
    """
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    chosen = [part for one in members for part in np.split(one, range(BATCH_SIZE, len(one), BATCH_SIZE))]
    for positions, inputs in zip(chosen, images.batches(enumerate(chosen)), strict=True):
        yield inputs, targets[torch.from_numpy(positions)], torch.from_numpy(groups[positions])
