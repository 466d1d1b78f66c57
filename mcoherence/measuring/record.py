"""The sums of gradients along a run, as coherence.h5 and its like hold them.

Index letters: K checkpoints, G groups, P parameters, L layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mcoherence.coherence import m_coherence
from mcoherence.gradients.batch.evidence import Evidence, bound_ratio
from mcoherence.gradients.given.layer_names import by_layer, layer_indices, layers_of
from mcoherence.gradients.minibatches import MinibatchStatistics, alpha_of_examples
from mcoherence.gradients.statistics import GradientStatistics


@dataclass(frozen=True)
class CoherenceRecord:
    """The measurements of one run, as coherence.h5 holds them.

    n: int64 [K, G]; sum_sq_norm: float64 [K, G, P]; gram: float64 [K, G, G, P], inner products of the groups' sums.
    size: examples of each of the n things that are summed over: 1.
    """

    parameters: tuple[str, ...]
    n: NDArray[np.int64]
    sum_sq_norm: NDArray[np.float64]
    gram: NDArray[np.float64]
    size: int = 1

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the L layers, in the model's order."""
        return layers_of(self.parameters)

    @property
    def parameter_layer(self) -> NDArray[np.int64]:
        """Position in `layers` of each parameter's layer, int64 [P]."""
        return layer_indices(self.parameters)

    def datasets(self, model: nn.Module, groups: Sequence[str]) -> dict[str, NDArray[Any] | Sequence[str]]:
        """The sums, with what names their groups, layers and parameters: group, layer, layer_type, parameter, ...

        Args:
            model: that was measured.
            groups: names of the G groups.
        """
        return {
            "group": groups,
            "layer": self.layers,
            "layer_type": [type(model.get_submodule(layer)).__name__ for layer in self.layers],
            "parameter": self.parameters,
            "parameter_layer": self.parameter_layer,
            **self.sums(),
        }

    def sums(self) -> dict[str, NDArray[Any]]:
        """The datasets n, sum_sq_norm and gram, with m_coherence and m_coherence_model derived from them."""
        return {
            "n": self.n,
            "sum_sq_norm": self.sum_sq_norm,
            "gram": self.gram,
            "m_coherence": self.m_coherence_by_layer(),
            "m_coherence_model": self.m_coherence_of_model(),
        }

    def largest_bound_ratio(self, dtype: torch.dtype) -> float:
        """The largest |S|^2 / (n Q) of a group and layer over the checkpoints that did not diverge.

        Raises:
            IdentityError: it is above 1.
        """
        measured = ~np.isnan(self.sum_sq_norm).any(axis=(1, 2))
        squared = self._squared_norm_of_sum()[measured]
        return bound_ratio(squared, self.sum_sq_norm[measured], self.n[measured], self.parameters, dtype)

    def m_coherence_by_layer(self) -> NDArray[np.float64]:
        """m-coherence per checkpoint, group and layer, float64 [K, G, L]."""
        squared = by_layer(self._squared_norm_of_sum(), self.parameters)
        return m_coherence(squared, by_layer(self.sum_sq_norm, self.parameters))

    def m_coherence_of_model(self) -> NDArray[np.float64]:
        """m-coherence of all parameters together per checkpoint and group, float64 [K, G]."""
        return m_coherence(self._squared_norm_of_sum().sum(axis=-1), self.sum_sq_norm.sum(axis=-1))

    def _squared_norm_of_sum(self) -> NDArray[np.float64]:
        return np.asarray(np.einsum("kggp->kgp", self.gram))


@dataclass(frozen=True)
class MinibatchRecord(CoherenceRecord):
    """The same over mini-batches: n counts them, and what is summed is the mean gradient of one.

    size: k, examples of a mini-batch.
    """

    def sums(self) -> dict[str, NDArray[Any]]:
        """The datasets n (of examples), minibatches, minibatch_sum_sq_norm and minibatch_gram, and the estimates.

        Of single examples there is neither sum_sq_norm nor gram.
        """
        return {
            "n": self.n * self.size,
            "minibatches": self.n,
            "minibatch_sum_sq_norm": self.sum_sq_norm,
            "minibatch_gram": self.gram,
            "m_coherence": self.m_coherence_by_layer(),
            "m_coherence_model": self.m_coherence_of_model(),
        }

    def m_coherence_by_layer(self) -> NDArray[np.float64]:
        """The alpha of examples that follows from that of mini-batches, times m, float64 [K, G, L]."""
        squared = by_layer(self._squared_norm_of_sum(), self.parameters)
        total, count = by_layer(self.sum_sq_norm, self.parameters), self.n[..., None]
        return alpha_of_examples(squared, total, count, self.size) * count * self.size

    def m_coherence_of_model(self) -> NDArray[np.float64]:
        """The same of all parameters together, float64 [K, G]."""
        squared, total = self._squared_norm_of_sum().sum(axis=-1), self.sum_sq_norm.sum(axis=-1)
        return alpha_of_examples(squared, total, self.n, self.size) * self.n * self.size


Record = TypeVar("Record", bound=CoherenceRecord)


def stacked(records: Sequence[Record]) -> Record:
    """The records of consecutive checkpoints of one run as one."""
    first = records[0]
    return type(first)(
        first.parameters,
        np.concatenate([one.n for one in records]),
        np.concatenate([one.sum_sq_norm for one in records]),
        np.concatenate([one.gram for one in records]),
        first.size,
    )


def record_of(statistics: GradientStatistics | MinibatchStatistics) -> CoherenceRecord:
    """The statistics of one checkpoint, K = 1, without the sums themselves, which are as large as the model."""
    sums = (statistics.parameters, statistics.counts[None], statistics.sum_sq_norms[None], statistics.gram[None])
    if isinstance(statistics, MinibatchStatistics):
        return MinibatchRecord(*sums, statistics.size)
    return CoherenceRecord(*sums)


def evidence_of(statistics: GradientStatistics | MinibatchStatistics) -> Evidence:
    """What was checked; of mini-batches the counts and the bound on |sum of W|^2.

    Raises:
        IdentityError: that bound is broken.
    """
    if isinstance(statistics, GradientStatistics):
        return statistics.evidence
    examples, elements = int(statistics.counts.sum()) * statistics.size, 0
    for sums in statistics.group_sums:
        elements += sums[0].numel()
    dtypes = {sums.dtype for sums in statistics.group_sums}
    ratio = record_of(statistics).largest_bound_ratio(torch.float64 if dtypes == {torch.float64} else torch.float32)
    return Evidence(examples, examples, elements, elements, ratio)
