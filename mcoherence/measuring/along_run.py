"""Gradient coherence along a run: one fixed sample, measured at every checkpoint, in groups.

A sample may be measured in shards. |S|^2 is not additive, so each shard keeps S for `joining.add_shards` to add up.

Index letters: K checkpoints, G groups, P parameters, L layers, m examples of the training sample.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from torch import nn

from mcoherence.files.hdf5 import new_hdf5, write_contents
from mcoherence.files.progress import progress
from mcoherence.gradients.batch.evidence import merged
from mcoherence.gradients.batch_norm import batch_norm_layers
from mcoherence.gradients.minibatches import MinibatchStatistics
from mcoherence.gradients.statistics import GradientStatistics
from mcoherence.measuring.by_examples import ByExamples
from mcoherence.measuring.by_minibatches import ByMinibatches
from mcoherence.measuring.job import MeasuringJob
from mcoherence.measuring.measurement import BatchNormStatistics, Measurement
from mcoherence.measuring.record import evidence_of, record_of, stacked
from mcoherence.study.result_names import BATCH, NO_BATCH_NORM, schemas_of

Statistics = GradientStatistics | MinibatchStatistics


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
        write_contents(file, datasets, {**attributes, **measured})


def measure_run(
    job: MeasuringJob, measurement: Measurement, keep: Callable[[int, Statistics], None] | None = None
) -> tuple[dict[str, NDArray[Any] | Sequence[str]], dict[str, Any]]:
    """The measurement of the examples, or of the job's shard of them, at every checkpoint of a run, as files hold it.

    Args:
        job: along which run, where, and which shard of the examples.
        measurement: what is measured.
        keep: is given k and the statistics of every checkpoint that did not diverge, once measured. Their S are let go
            after that: one set of sums is in memory at a time.

    Returns:
        The datasets step, epoch, diverged, group, layer, layer_type, parameter, parameter_layer, those of the records,
        who was drawn, and redrawn/label where labels were redrawn; and the attributes run, evidence, batch_norm, which
        says by what statistics it normalised, and in which layers, and examples_at_a_time, the batch, in a list.
    """
    moments = job.moments()
    normalised = how_normalised(job, measurement)
    by_minibatches = normalised["statistics"] == "minibatch"
    way = ByMinibatches(job, measurement) if by_minibatches else ByExamples(job, measurement)
    records, evidence = [], []
    for k, path in progress(enumerate(job.checkpoints), len(job.checkpoints), "measure"):
        model = job.network(path)
        if moments.diverged[k]:
            records.append(record_of(way.diverged(model)))
            continue
        statistics = way.measure(model.to(job.device, measurement.dtype), int(moments.step[k]))
        records.append(record_of(statistics))
        evidence.append(evidence_of(statistics))
        if keep is not None:
            keep(k, statistics)
    record = stacked(records)
    datasets: dict[str, NDArray[Any] | Sequence[str]] = {
        **moments.datasets(),
        **record.datasets(model, way.groups),
        **measurement.further,
        **(way.drawn() if isinstance(way, ByMinibatches) else {}),
    }
    if measurement.redrawn is not None:
        datasets["redrawn/label"] = np.stack([way.redrawn_labels(int(step)) for step in moments.step])
    attributes = {
        "run": moments.run,
        "evidence": merged(evidence).as_json(),
        "batch_norm": normalised,
        BATCH: [way.batch],
    }
    return datasets, attributes


def how_normalised(job: MeasuringJob, measurement: Measurement) -> dict[str, Any]:
    """By what the batch norm of the run's network normalises while it is measured, as files say it.

    Keys: statistics ("running", "sample", "minibatch"; "none" for a network without batch norm, whose gradients are the
    same by all of these), layers (names of its batch norm layers), and minibatch_size where it is by mini-batches.
    """
    said = normalised_by(job.network(job.checkpoints[0]), measurement.batch_norm)
    if said["statistics"] == "minibatch" and measurement.minibatches is not None:
        said["minibatch_size"] = measurement.minibatches.size
    return said


def normalised_by(model: nn.Module, batch_norm: BatchNormStatistics) -> dict[str, Any]:
    """The statistics that batch norm is asked to take, "none" for a model without it, and its layers."""
    layers = batch_norm_layers(model)
    return {"statistics": batch_norm if layers else NO_BATCH_NORM, "layers": list(layers)}


def write_group_sums(file: h5py.File, k: int, statistics: Statistics) -> None:
    """Write S of checkpoint k to the file of a shard, per parameter [G, *parameter shape], uncompressed."""
    for name, sums in zip(statistics.parameters, statistics.group_sums, strict=True):
        file.create_dataset(f"sums/{k}/{name}", data=sums.cpu().numpy(), chunks=True, fletcher32=True)
