"""The sums of gradients along a run, as coherence.h5 and its like hold them.

Index letters: K checkpoints, G groups, P parameters, L layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcoherence.coherence import m_coherence
from mcoherence.gradients.evidence import bound_ratio
from mcoherence.gradients.layer_names import by_layer, layer_indices, layers_of
from mcoherence.gradients.statistics import GradientStatistics


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
        return layers_of(self.parameters)

    @property
    def parameter_layer(self) -> NDArray[np.int64]:
        """Position in `layers` of each parameter's layer, int64 [P]."""
        return layer_indices(self.parameters)

    @classmethod
    def stacked(cls, records: Sequence["CoherenceRecord"]) -> "CoherenceRecord":
        """The records of consecutive checkpoints of one run as one."""
        return cls(
            records[0].parameters,
            np.concatenate([one.n for one in records]),
            np.concatenate([one.sum_sq_norm for one in records]),
            np.concatenate([one.gram for one in records]),
        )

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


def record_of(statistics: GradientStatistics) -> CoherenceRecord:
    """The statistics of one checkpoint, K = 1, without the sums themselves, which are as large as the model."""
    return CoherenceRecord(
        statistics.parameters, statistics.counts[None], statistics.sum_sq_norms[None], statistics.gram[None]
    )
