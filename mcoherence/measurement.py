"""Gradient coherence along a run: one fixed sample, measured at every checkpoint, in groups.

A sample may be measured in shards. |S|^2 is not additive, so that each shard keeps S for `parts.add_shards` to add up.

Index letters: K checkpoints, G groups, P parameters, L layers, m examples of the training sample.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence.coherence import m_coherence
from mcoherence.cutting import shard
from mcoherence.data.loading import Examples
from mcoherence.data.random_streams import DIFFICULTY_SAMPLE, MEASURED_SAMPLE, random_stream
from mcoherence.gradients.evidence import bound_ratio, merged
from mcoherence.gradients.statistics import GradientStatistics, gradient_statistics, layer_of
from mcoherence.models import load_checkpoint, read_checkpoint_metadata
from mcoherence.progress import progress
from mcoherence.run_files import CORRUPT, DIFFICULTY_GROUPS, GROUPS, HELDOUT, PRISTINE

BATCH_SIZE = 256
PRECISIONS = {"float32": torch.float32, "float64": torch.float64}

# images of some examples, their targets int64 [m] on the images' device, and their groups int64 [m]
MeasuredExamples = tuple[Examples, Tensor, NDArray[np.int64]]


@dataclass(frozen=True)
class Sample:
    """Positions of the measured examples and their groups.

    index: int64 [m], positions in the part of the data set, ascending within a draw; group: int64 [m], positions in the
    names of the groups.
    """

    index: NDArray[np.int64]
    group: NDArray[np.int64]

    def shard(self, number: int, shards: int) -> "Sample":
        """The examples of shard `number` (from 0) of so many, in their order."""
        part = shard(len(self.index), number, shards)
        return Sample(self.index[part], self.group[part])


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


def difficulty_sample(parts: Mapping[str, NDArray[np.int64]], size: int, heldout_size: int, seed: int) -> Sample:
    """Disjoint samples of the train and test parts of easy, hard and random examples, of one size within each kind.

    The random part overlaps the others, and an example that two groups share would count as agreement between them. So
    the random sample is drawn first and the others from what is left of their parts, which is a fair choice of them
    because the random part was drawn regardless of difficulty. A sample is at most half of its part, so that enough is
    left.

    Args:
        parts: positions by group of DIFFICULTY_GROUPS, int64, as split.h5 holds them.
        size: most examples of a train part.
        heldout_size: most examples of a test part.
        seed: the same seed and parts give the same sample.

    Returns:
        The sample; `group` counts positions in DIFFICULTY_GROUPS.
    """
    generator = random_stream(seed, DIFFICULTY_SAMPLE)
    drawn: dict[str, NDArray[np.int64]] = {}
    for kind, most in (("train", size), ("test", heldout_size)):
        count = min(most, *(len(parts[f"{subset}_{kind}"]) // 2 for subset in ("easy", "hard", "random")))
        for subset in ("random", "easy", "hard"):
            left = np.setdiff1d(parts[f"{subset}_{kind}"], drawn.get(f"random_{kind}", []))
            drawn[f"{subset}_{kind}"] = np.sort(generator.choice(left, size=count, replace=False))
    return Sample(
        np.concatenate([drawn[group] for group in DIFFICULTY_GROUPS]).astype(np.int64),
        np.repeat(np.arange(len(DIFFICULTY_GROUPS)), [len(drawn[group]) for group in DIFFICULTY_GROUPS]),
    )


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


def measure_run(
    checkpoints: Sequence[Path],
    samples: Sequence[MeasuredExamples],
    precision: str,
    names: Sequence[str],
    keep_sums: Callable[[int, GradientStatistics], None] | None = None,
) -> tuple[dict[str, NDArray[Any] | Sequence[str]], dict[str, Any]]:
    """The measurement of samples, taken together, at every checkpoint of a run, as files hold it.

    Args:
        checkpoints: paths of the K checkpoints, in the order of training.
        samples: images, targets and groups (positions in `names`) of the examples.
        precision: "float32" or "float64".
        names: of the G groups.
        keep_sums: is given k and the statistics of every checkpoint that did not diverge, once measured. Their S are
            let go after that: one set of sums is in memory at a time.

    Returns:
        The datasets step, epoch, diverged, group, layer, layer_type, parameter, parameter_layer, n, sum_sq_norm and
        gram, with m_coherence and m_coherence_model derived from them; and the attributes run and evidence.
    """
    metadata = [read_checkpoint_metadata(path) for path in checkpoints]
    diverged = ["diverged_at" in one for one in metadata]
    device, dtype = samples[0][1].device, PRECISIONS[precision]
    groups = np.concatenate([group for _, _, group in samples])
    records, evidence = [], []
    for k, path in progress(enumerate(checkpoints), len(checkpoints), "measure"):
        model = load_checkpoint(path)
        if diverged[k]:
            records.append(record_of(of_diverged(model, groups, names)))
            continue
        batches = chain.from_iterable(group_batches(*one) for one in samples)
        statistics = measure(model.to(device, dtype), batches, names)
        records.append(record_of(statistics))
        evidence.append(statistics.evidence)
        if keep_sums is not None:
            keep_sums(k, statistics)
    record = CoherenceRecord.stacked(records)
    datasets: dict[str, NDArray[Any] | Sequence[str]] = {
        "step": np.array([one["step"] for one in metadata], dtype=np.int64),
        "epoch": np.array([one["epoch"] for one in metadata], dtype=np.float64),
        "diverged": np.array(diverged, dtype=np.bool_),
        "group": names,
        "layer": record.layers,
        "layer_type": [type(model.get_submodule(layer)).__name__ for layer in record.layers],
        "parameter": record.parameters,
        "parameter_layer": record.parameter_layer,
        **record.sums(),
    }
    return datasets, {"run": metadata[0]["run"], "evidence": merged(evidence).as_json()}


def keep_sums(file: h5py.File, k: int, statistics: GradientStatistics) -> None:
    """Write S of checkpoint k to the file of a shard, per parameter [G, *parameter shape], uncompressed."""
    for name, sums in zip(statistics.parameters, statistics.group_sums, strict=True):
        file.create_dataset(f"sums/{k}/{name}", data=sums.numpy(), chunks=True, fletcher32=True)


def measure(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor, Tensor]], names: Sequence[str] = GROUPS
) -> GradientStatistics:
    """Gradient statistics of the cross-entropy of one checkpoint, in the groups `names`."""
    return gradient_statistics(model, nn.CrossEntropyLoss(reduction="none"), batches, groups=names, spot_check=2)


def of_diverged(model: nn.Module, groups: NDArray[np.int64], names: Sequence[str] = GROUPS) -> GradientStatistics:
    """The record of a diverged checkpoint for a sample in these groups, int64 [m]: counts, and NaN for every sum."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return GradientStatistics(
        tuple(names),
        tuple(parameters),
        np.bincount(groups, minlength=len(names)).astype(np.int64),
        np.full((len(names), len(parameters)), np.nan),
        tuple(torch.full((), np.nan).expand(len(names), *p.shape) for p in parameters.values()),
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
