"""The sums of per-example gradients that coherence.h5 and its like hold, read by the names of groups and layers.

Index letters: K checkpoints, G groups of examples, P parameters.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcoherence.coherence import alpha, alpha_from_minibatches, m_coherence, pairwise_alignment
from mcoherence.files.hdf5 import open_hdf5, read_names
from mcoherence.study.result_names import CORRUPT, GROUPS, PRISTINE
from mcoherence.tables.columns import TRAIN_GROUP, WHOLE_NETWORK

# Groups that are several of those in a file together, where it does not have them itself.
UNIONS = {TRAIN_GROUP: (GROUPS[PRISTINE], GROUPS[CORRUPT])}


@dataclass(frozen=True)
class OverMinibatches:
    """Sums over mini-batches of k examples, where there are none over single examples.

    count: number of mini-batches, int64 [K, G]; sum_sq_norm: sum of |W|^2 of their mean gradients W, float64 [K, G, P].
    """

    count: NDArray[np.int64]
    sum_sq_norm: NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """Sums over the examples of each group, at the checkpoints of a run.

    step: int64 [K]; epoch: float64 [K]; diverged: bool [K]; n, number of examples: int64 [K, G].
    sum_sq_norm: Q, float64 [K, G, P], NaN where it was not measured. gram: S_a . S_b, float64 [K, G, G, P].
    groups: names in the order of the file. layers: name -> its parameters, bool [P]. layer_types: name -> class.
    batch_norm: by what statistics it normalised: running, sample, minibatch; none, for a network without it.
    minibatches: what coherence is estimated from where batch_norm is minibatch, else None.
    unions: groups that are several of those in the file together, by name, as the file says, or UNIONS.
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
    batch_norm: str = "running"
    minibatches: OverMinibatches | None = None
    unions: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: UNIONS)

    @classmethod
    def read(cls, path: Path, schema: str) -> "Sums":
        """The sums of a measured result of this schema; UserError if the file is missing, damaged or another one."""
        with open_hdf5(path, schema) as file:
            names, parameter_layer = read_names(file, "layer"), file["parameter_layer"][:]
            return cls(
                **{name: file[name][:] for name in ("step", "epoch", "diverged", "n")},
                **_sums_of(file),
                groups=tuple(read_names(file, "group")),
                layers={name: parameter_layer == index for index, name in enumerate(names)},
                layer_types=dict(zip(names, read_names(file, "layer_type"), strict=True)),
                batch_norm=batch_norm_statistics(file),
                unions={name: tuple(of) for name, of in json.loads(file.attrs.get("unions", "{}")).items()} or UNIONS,
            )

    def over_parameters(self) -> "Sums":
        """These sums of the whole network alone, added up over the parameters before they are over groups.

        Rounding depends on the order of adding up: of `inner` and `total` the last bits can differ from those of the
        sums by parameter.
        """
        sums = {name: getattr(self, name).sum(axis=-1, keepdims=True) for name in ("sum_sq_norm", "gram")}
        minibatches = self.minibatches
        if minibatches is not None:
            total = minibatches.sum_sq_norm.sum(axis=-1, keepdims=True)
            minibatches = replace(minibatches, sum_sq_norm=total)
        return replace(self, **sums, minibatches=minibatches, layers={}, layer_types={})

    def has(self, group: str) -> bool:
        """Whether a group was measured, alone or as several that make it up."""
        return group in self.groups or (
            group in self.unions and all(name in self.groups for name in self.unions[group])
        )

    def m_coherence(self, group: str, layer: str = WHOLE_NETWORK) -> NDArray[np.float64]:
        """m-coherence of a group in one layer or the whole network, float64 [K]: |S|^2 / Q, or m alpha of mini-batches.

        The latter by the inverse of how mini-batches inflate alpha (arXiv 2008.01217), from alpha of their means.
        """
        squared = self.inner(group, group, layer)
        if self.minibatches is None:
            return m_coherence(squared, self.total(group, layer))
        (place,), m = self._members(group), self.count(group)
        count = self.minibatches.count[:, place]
        with np.errstate(divide="ignore", invalid="ignore"):  # 0/0 of no mini-batches
            size = m / count
        total = self.minibatches.sum_sq_norm[:, place][..., self._parameters(layer)].sum(axis=-1)
        of_means = np.where(count > 1, alpha(squared / size**2, total, count), np.nan)
        return np.asarray(m * alpha_from_minibatches(of_means, size))

    def measures(self, group: str, layer: str = WHOLE_NETWORK) -> dict[str, NDArray[np.float64]]:
        """The columns m_coherence, alpha and pairwise_alignment of a group in one layer or the whole network.

        Each float64 [K]: m-coherence in examples, the others as shares.
        """
        measured, count = self.m_coherence(group, layer), self.count(group)  # the others' numerator, whose Q is 1 then
        return {
            "m_coherence": measured,
            "alpha": alpha(measured, 1.0, count),
            "pairwise_alignment": pairwise_alignment(measured, 1.0, count),
        }

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
        names = (group,) if group in self.groups else self.unions.get(group, (group,))
        return [self.groups.index(name) for name in names]

    def _parameters(self, layer: str) -> NDArray[np.bool_]:
        if layer == WHOLE_NETWORK:
            return np.ones(self.gram.shape[-1], dtype=np.bool_)
        return self.layers[layer]


def batch_norm_statistics(file: h5py.File) -> str:
    """By what statistics a measurement normalised: running, sample, minibatch; none, for a network without batch norm.

    A file that does not say it is older than the choice, when there were running statistics alone.
    """
    said: Mapping[str, Any] = json.loads(file.attrs.get("batch_norm", "{}"))
    return str(said.get("statistics", "running"))


def _sums_of(file: h5py.File) -> dict[str, Any]:
    """The fields sum_sq_norm, gram and minibatches of a file: of sums over examples, or over mini-batches of them."""
    if "minibatch_gram" not in file:
        return {name: file[name][:] for name in ("sum_sq_norm", "gram")}
    count, total, gram = (file[name][:] for name in ("minibatches", "minibatch_sum_sq_norm", "minibatch_gram"))
    size = np.max(file["n"][:]) // max(np.max(count), 1)
    return {
        "sum_sq_norm": np.full(total.shape, np.nan),
        "gram": size**2 * gram,  # the sum of a mini-batch's gradients is k times their mean
        "minibatches": OverMinibatches(count, total),
    }
