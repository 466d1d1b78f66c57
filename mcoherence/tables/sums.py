"""The sums of per-example gradients that coherence.h5 and its like hold, read by the names of groups and layers.

Index letters: K checkpoints, G groups of examples, P parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcoherence.files.hdf5 import open_hdf5, read_names
from mcoherence.study.result_names import CORRUPT, GROUPS, PRISTINE
from mcoherence.tables.columns import TRAIN_GROUP, WHOLE_NETWORK

# Groups that are several of those in a file together, where it has them.
UNIONS = {TRAIN_GROUP: (GROUPS[PRISTINE], GROUPS[CORRUPT])}


@dataclass(frozen=True)
class Sums:
    """Sums over the examples of each group, at the checkpoints of a run.

    step: int64 [K]; epoch: float64 [K]; diverged: bool [K]; n, number of examples: int64 [K, G].
    sum_sq_norm: Q, float64 [K, G, P]. gram: S_a . S_b, float64 [K, G, G, P].
    groups: names in the order of the file. layers: name -> its parameters, bool [P]. layer_types: name -> class.
    """

    step: NDArray[np.int64]
    epoch: NDArray[np.float64]
    diverged: NDArray[np.bool_]
    n: NDArray[np.int64]
    sum_sq_norm: NDArray[np.float64]
    gram: NDArray[np.float64]
    groups: tuple[str, ...]
    layers: Mapping[str, NDArray[np.bool_]]
    layer_types: Mapping[str, str]

    @classmethod
    def read(cls, path: Path, schema: str) -> "Sums":
        """The sums of a measured result of this schema; UserError if the file is missing, damaged or another one."""
        with open_hdf5(path, schema) as file:
            arrays = {name: file[name][:] for name in ("step", "epoch", "diverged", "n", "sum_sq_norm", "gram")}
            names, parameter_layer = read_names(file, "layer"), file["parameter_layer"][:]
            return cls(
                **arrays,
                groups=tuple(read_names(file, "group")),
                layers={name: parameter_layer == index for index, name in enumerate(names)},
                layer_types=dict(zip(names, read_names(file, "layer_type"), strict=True)),
            )

    def over_parameters(self) -> "Sums":
        """These sums of the whole network alone, added up over the parameters before they are over groups.

        Rounding depends on the order of adding up: of `inner` and `total` the last bits can differ from those of the
        sums by parameter.
        """
        sums = {name: getattr(self, name).sum(axis=-1, keepdims=True) for name in ("sum_sq_norm", "gram")}
        return replace(self, **sums, layers={}, layer_types={})

    def inner(self, a: str, b: str, layer: str = WHOLE_NETWORK) -> NDArray[np.float64]:
        """S_a . S_b of two groups in one layer or the whole network, float64 [K]; |S|^2 where both are the same."""
        pairs = self.gram[:, self._members(a)][:, :, self._members(b)]
        return np.asarray(pairs[..., self._parameters(layer)].sum(axis=(1, 2, 3)))

    def total(self, group: str, layer: str = WHOLE_NETWORK) -> NDArray[np.float64]:
        """Q of a group in one layer or the whole network, float64 [K]."""
        return np.asarray(self.sum_sq_norm[:, self._members(group)][..., self._parameters(layer)].sum(axis=(1, 2)))

    def count(self, group: str) -> NDArray[np.int64]:
        """Number of examples of a group, int64 [K]."""
        return np.asarray(self.n[:, self._members(group)].sum(axis=1))

    def _members(self, group: str) -> list[int]:
        """Positions of the groups of the file that are in a group."""
        return [self.groups.index(name) for name in UNIONS.get(group, (group,))]

    def _parameters(self, layer: str) -> NDArray[np.bool_]:
        if layer == WHOLE_NETWORK:
            return np.ones(self.gram.shape[-1], dtype=np.bool_)
        return self.layers[layer]
