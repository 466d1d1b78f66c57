"""What a monitor has measured, as numbers to log, as a table of measurements, and as the tidy rows that figures read.

Index letters: K measurements, G groups, P parameters, L layers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.coherence import alpha, m_coherence, pairwise_alignment
from mcoherence.gradients.batch.evidence import Evidence
from mcoherence.gradients.given.layer_names import by_layer
from mcoherence.gradients.noise import gradient_variance, mean_gradient_sq_norm, running_noise_scale
from mcoherence.gradients.statistics import WHOLE_SAMPLE
from mcoherence.measuring.record import CoherenceRecord
from mcoherence.tables.columns import TRAIN_GROUP, WHOLE_NETWORK
from mcoherence.tables.sums import UNIONS, Sums

VARIANCE, MEAN_SQ_NORM, NOISE_SCALE = "gradient_variance", "mean_gradient_sq_norm", "running_noise_scale"
NOISE_DECAY = 0.9  # weight that the running means of tr(Sigma) and |G|^2 keep with each measurement


@dataclass(frozen=True)
class Measurements:
    """K measurements of one network on one sample.

    steps: ascending, int64 [K]; diverged: whether weights, losses or gradients were not finite, bool [K]; then all that
        is measured is NaN.
    groups: names [G]; record: the sums.
    layer_types: {layer: the class of its module}; batch_norm: by what statistics it normalised: "running", or "none"
        for a network without it. evidence: what was checked in all of them.
    rounding: the share of Q that is rounding.
    """

    steps: NDArray[np.int64]
    diverged: NDArray[np.bool_]
    groups: tuple[str, ...]
    record: CoherenceRecord
    layer_types: Mapping[str, str]
    batch_norm: str
    evidence: Evidence
    rounding: float

    def each(self) -> "Iterator[Measurements]":
        """One after the other, K = 1.

        The last digit of a sum depends on the shape of what is added up, so that rows are always made of one at a time.
        """
        for k in range(len(self.steps)):
            yield self._one(k)

    def _one(self, k: int) -> "Measurements":
        chosen, whole = slice(k, k + 1), self.record
        record = replace(whole, n=whole.n[chosen], sum_sq_norm=whole.sum_sq_norm[chosen], gram=whole.gram[chosen])
        return replace(self, steps=self.steps[chosen], diverged=self.diverged[chosen], record=record)


def measured_values(measured: Measurements) -> dict[str, float]:
    """The numbers of a measurement, K = 1, by name.

    n, m_coherence, alpha, pairwise_alignment, sum_sq_norm (Q), sq_norm_of_sum (|S|^2), gradient_variance (tr(Sigma))
    and mean_gradient_sq_norm (|G|^2), both unbiased: of all examples together. With groups m_coherence/group/NAME,
    alpha/group/NAME and n/group/NAME, and always m_coherence/layer/NAME.
    """
    record = measured.record
    squared = record.gram.sum(axis=(1, 2))  # [K, P], of the union of the groups
    total, n = record.sum_sq_norm.sum(axis=1), record.n.sum(axis=1)
    columns: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {"n": n}
    columns |= _measures(squared.sum(axis=-1), total.sum(axis=-1), n)
    sums = columns["sq_norm_of_sum"], columns["sum_sq_norm"], n
    columns |= {VARIANCE: gradient_variance(*sums, measured.rounding), MEAN_SQ_NORM: mean_gradient_sq_norm(*sums)}
    if measured.groups != (WHOLE_SAMPLE,):
        own = np.einsum("kggp->kg", record.gram)
        of_groups = _measures(own, record.sum_sq_norm.sum(axis=-1), record.n) | {"n": record.n}
        for name in ("m_coherence", "alpha", "n"):
            columns |= {f"{name}/group/{group}": of_groups[name][:, g] for g, group in enumerate(measured.groups)}
    layers = m_coherence(by_layer(squared, record.parameters), by_layer(total, record.parameters))
    columns |= {f"m_coherence/layer/{layer}": layers[:, place] for place, layer in enumerate(record.layers)}
    return {name: values.item() for name, values in columns.items()}


def _measures(
    squared: NDArray[np.float64], total: NDArray[np.float64], n: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    return {
        "m_coherence": m_coherence(squared, total),
        "alpha": alpha(squared, total, n),
        "pairwise_alignment": pairwise_alignment(squared, total, n),
        "sum_sq_norm": total,
        "sq_norm_of_sum": squared,
    }


def history_of(measured: Measurements) -> pd.DataFrame:
    """A row a measurement: step, diverged, then `measured_values` and the running noise scale."""
    rows = [measured_values(one) for one in measured.each()]
    noise = noise_scales([(row[VARIANCE], row[MEAN_SQ_NORM]) for row in rows])
    columns = {"step": measured.steps, "diverged": measured.diverged}
    return pd.concat([pd.DataFrame(columns), pd.DataFrame(rows).assign(**{NOISE_SCALE: noise})], axis=1)


def noise_scales(estimates: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """The running gradient noise scale of K measurements, float64 [K]: of means that decay by NOISE_DECAY.

    Measurements without numbers (of a network that has diverged, or of one example) are left out of the means, and have
    NaN themselves.

    Args:
        estimates: tr(Sigma) and |G|^2 of each measurement.
    """
    found = np.array(estimates, dtype=np.float64).reshape(-1, 2)
    known = ~np.isnan(found).any(axis=1)
    scales = np.full(len(found), np.nan)
    scales[known] = running_noise_scale(found[known, 0], found[known, 1], NOISE_DECAY)
    return scales


def file_layers(layers: Sequence[str]) -> tuple[str, ...]:
    """Names of layers as files have them: "model" is the whole network there, so a layer of that name is "model."."""
    return tuple(f"{layer}." if layer == WHOLE_NETWORK else layer for layer in layers)


def sums_of(measured: Measurements) -> Sums:
    """The measurements as the tables read those of a study."""
    record, names = measured.record, file_layers(measured.record.layers)
    return Sums(
        step=measured.steps,
        epoch=np.full(len(measured.steps), np.nan),
        diverged=measured.diverged,
        n=record.n,
        sum_sq_norm=record.sum_sq_norm,
        gram=record.gram,
        groups=file_groups(measured.groups),
        layers={name: record.parameter_layer == place for place, name in enumerate(names)},
        layer_types={
            name: measured.layer_types.get(layer, "") for name, layer in zip(names, record.layers, strict=True)
        },
        batch_norm=measured.batch_norm,
        unions=file_unions(measured.groups),
    )


def file_groups(groups: Sequence[str]) -> tuple[str, ...]:
    """Names of groups as files have them: a sample without groups is the training sample."""
    return (TRAIN_GROUP,) if tuple(groups) == (WHOLE_SAMPLE,) else tuple(groups)


def file_unions(groups: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Groups of a file that are several of those measured: all, the whole sample, and train, the training sample.

    None for a sample without groups. The training sample is the group "train"; where there is none, pristine and
    corrupt examples together; where there are none of these, all.
    """
    groups = tuple(groups)
    if groups == (WHOLE_SAMPLE,):
        return {}
    unions, training = {WHOLE_SAMPLE: groups}, UNIONS[TRAIN_GROUP]
    if TRAIN_GROUP not in groups:
        unions[TRAIN_GROUP] = training if set(training) <= set(groups) else groups
    return unions
