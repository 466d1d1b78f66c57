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
from mcoherence.gradients.statistics import GradientStatistics, layer_of


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

    def bound_ratio(self, dtype: torch.dtype) -> float:
        """The largest |S|^2 / (n Q) of a group and layer over the checkpoints that did not diverge.

        Raises:
            IdentityError: it is above 1.
        """
        member = self._member()
        squared, total = self._squared_norm_of_sum() @ member, self.sum_sq_norm @ member
        measured = np.flatnonzero(~np.isnan(total).any(axis=(1, 2)))
        return max(
            (bound_ratio(squared[k], total[k], self.n[k], self.layers, dtype) for k in measured),
            default=0.0,
        )

    def m_coherence_by_layer(self) -> NDArray[np.float64]:
        """m-coherence per checkpoint, group and layer, float64 [K, G, L]."""
        member = self._member()
        return m_coherence(self._squared_norm_of_sum() @ member, self.sum_sq_norm @ member)

    def m_coherence_of_model(self) -> NDArray[np.float64]:
        """m-coherence of all parameters together per checkpoint and group, float64 [K, G]."""
        return m_coherence(self._squared_norm_of_sum().sum(axis=-1), self.sum_sq_norm.sum(axis=-1))

    def _member(self) -> NDArray[np.float64]:
        """1 where a parameter is in a layer, float64 [P, L]."""
        return np.asarray(np.eye(len(self.layers))[self.parameter_layer])

    def _squared_norm_of_sum(self) -> NDArray[np.float64]:
        return np.asarray(np.einsum("kggp->kgp", self.gram))


def record_of(statistics: GradientStatistics) -> CoherenceRecord:
    """The statistics of one checkpoint, K = 1, without the sums themselves, which are as large as the model."""
    return CoherenceRecord(
        statistics.parameters, statistics.counts[None], statistics.sum_sq_norms[None], statistics.gram[None]
    )
