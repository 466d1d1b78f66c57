"""Gradient coherence along a run: one fixed sample, measured at every checkpoint, in groups.

A sample may be measured in shards. |S|^2 is not additive, so each shard keeps S for `joining.add_shards` to add up.

Index letters: K checkpoints, G groups, P parameters, L layers, m examples of the training sample.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence.data.loading import ImageLoader
from mcoherence.files.hdf5 import new_hdf5, write_contents
from mcoherence.files.progress import progress
from mcoherence.gradients.evidence import merged
from mcoherence.gradients.statistics import GradientStatistics, gradient_statistics
from mcoherence.measuring.job import MeasuringJob
from mcoherence.measuring.record import CoherenceRecord, record_of
from mcoherence.measuring.samples import DrawnExamples
from mcoherence.study.result_names import GROUPS, schemas_of
from mcoherence.study.shards import MEASURED_BATCH

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}

# images of some examples, their targets int64 [m] on the images' device, and their groups int64 [m]
MeasuredExamples = tuple[ImageLoader, Tensor, NDArray[np.int64]]


@dataclass(frozen=True)
class Measurement:
    """What is measured at every checkpoint of a run.

    result: its name, such as "coherence", which decides the schemas of its files.
    examples: drawn once for the whole run, taken together.
    groups: names of the G groups; the samples' groups are positions in it.
    precision: "float32" or "float64".
    tf32: whether float32 products may be TF32's.
    further: datasets that say who was drawn, by name.
    """

    result: str
    examples: Sequence[DrawnExamples]
    groups: Sequence[str]
    precision: str
    tf32: bool
    further: Mapping[str, NDArray[Any]]


def write_measurement(path: Path, measurement: Measurement, job: MeasuringJob, attributes: Mapping[str, Any]) -> None:
    """Measure along the run and write the result, or a shard of it, which keeps S besides.

    Args:
        path: the file to write.
        measurement: what is measured.
        job: along which run, where, and which shard of the examples.
        attributes: provenance, written into the file.
    """
    schemas, sharded = schemas_of(measurement.result), job.shard.count > 1
    with new_hdf5(path, schemas.shard if sharded else schemas.whole) as file:
        keep = partial(write_group_sums, file) if sharded else None
        datasets, measured = measure_run(job, measurement, keep)
        write_contents(file, {**datasets, **measurement.further}, {**attributes, **measured})


def measure_run(
    job: MeasuringJob, measurement: Measurement, keep: Callable[[int, GradientStatistics], None] | None = None
) -> tuple[dict[str, NDArray[Any] | Sequence[str]], dict[str, Any]]:
    """The measurement of the examples, or of the job's shard of them, at every checkpoint of a run, as files hold it.

    Args:
        job: along which run, where, and which shard of the examples.
        measurement: what is measured.
        keep: is given k and the statistics of every checkpoint that did not diverge, once measured. Their S are let go
            after that: one set of sums is in memory at a time.

    Returns:
        The datasets step, epoch, diverged, group, layer, layer_type, parameter, parameter_layer, n, sum_sq_norm and
        gram, with m_coherence and m_coherence_model derived from them; and the attributes run and evidence.
    """
    names, dtype = measurement.groups, PRECISIONS[measurement.precision]
    samples = [_loaded(job, one, dtype) for one in measurement.examples]
    groups = np.concatenate([group for _, _, group in samples])
    moments = job.moments()
    records, evidence = [], []
    for k, path in progress(enumerate(job.checkpoints), len(job.checkpoints), "measure"):
        model = job.network(path)
        if moments.diverged[k]:
            records.append(record_of(diverged_statistics(model, groups, names)))
            continue
        batches = chain.from_iterable(group_batches(*one) for one in samples)
        statistics = measure(model.to(job.device, dtype), batches, names, measurement.tf32)
        records.append(record_of(statistics))
        evidence.append(statistics.evidence)
        if keep is not None:
            keep(k, statistics)
    record = CoherenceRecord.stacked(records)
    datasets: dict[str, NDArray[Any] | Sequence[str]] = {
        **moments.datasets(),
        "group": names,
        "layer": record.layers,
        "layer_type": [type(model.get_submodule(layer)).__name__ for layer in record.layers],
        "parameter": record.parameters,
        "parameter_layer": record.parameter_layer,
        **record.sums(),
    }
    return datasets, {"run": moments.run, "evidence": merged(evidence).as_json()}


def _loaded(job: MeasuringJob, drawn: DrawnExamples, dtype: torch.dtype) -> MeasuredExamples:
    """The job's shard of drawn examples."""
    sample = drawn.sample.rows(job.shard.rows(len(drawn.sample.index)))
    images = job.load(drawn.part, sample.index, dtype)
    return images, torch.from_numpy(drawn.targets[sample.index]).to(job.device), sample.group


def write_group_sums(file: h5py.File, k: int, statistics: GradientStatistics) -> None:
    """Write S of checkpoint k to the file of a shard, per parameter [G, *parameter shape], uncompressed."""
    for name, sums in zip(statistics.parameters, statistics.group_sums, strict=True):
        file.create_dataset(f"sums/{k}/{name}", data=sums.numpy(), chunks=True, fletcher32=True)


def measure(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    names: Sequence[str] = GROUPS,
    tf32: bool = False,
) -> GradientStatistics:
    """Gradient statistics of the cross-entropy of one checkpoint, in the groups `names`."""
    loss = nn.CrossEntropyLoss(reduction="none")
    return gradient_statistics(model, loss, batches, groups=names, spot_check=2, tf32=tf32)


def diverged_statistics(
    model: nn.Module, groups: NDArray[np.int64], names: Sequence[str] = GROUPS
) -> GradientStatistics:
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
    images: ImageLoader, targets: Tensor, groups: NDArray[np.int64]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches (inputs [n, ...], targets [n], group ids [n]) of one group each, so that one pass serves each example.

    Args:
        images: the m examples of a sample.
        targets: their labels, int64 [m].
        groups: their groups, int64 [m].
    """
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    chosen = [part for one in members for part in np.split(one, range(MEASURED_BATCH, len(one), MEASURED_BATCH))]
    for positions, inputs in zip(chosen, images.batches(enumerate(chosen)), strict=True):
        yield inputs, targets[torch.from_numpy(positions)], torch.from_numpy(groups[positions])
