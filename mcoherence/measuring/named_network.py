"""Coherence of anybody's network on anybody's data, at one or more sets of weights, as coherence.h5 holds it.

Index letters: K sets of weights, G groups, m examples of the sample, N examples of the data.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence.data.named_data import IGNORED, BatchReading, NamedData
from mcoherence.data.store import Labels
from mcoherence.device import enough_memory, is_of_device
from mcoherence.errors import UserError, first_line
from mcoherence.files.hdf5 import new_hdf5, write_contents
from mcoherence.files.progress import progress
from mcoherence.gradients.batch.evidence import merged
from mcoherence.gradients.batch_norm import with_sample_statistics
from mcoherence.gradients.given.losses import LossFunction
from mcoherence.gradients.given.trees import leaves, length, outputs_of
from mcoherence.gradients.given.wrappers import unwrapped
from mcoherence.gradients.statistics import GradientStatistics, gradient_statistics
from mcoherence.measuring.along_run import normalised_by, write_group_sums
from mcoherence.measuring.job import EVERYTHING
from mcoherence.measuring.record import evidence_of, record_of, stacked
from mcoherence.measuring.samples import draw_training_sample
from mcoherence.study.result_names import CORRUPT, GROUPS, HELDOUT, PRISTINE, schemas_of
from mcoherence.study.shards import Shard

Grouping = Literal["class", "changed"]
GROUPINGS: tuple[Grouping, ...] = ("class", "changed")
WHOLE = {"train": "train", "test": GROUPS[HELDOUT]}  # what the whole sample is called, by the part that it is from
LOWER = "lower them, or name a smaller network"  # where there is no room for two examples
SMALLER = "name a smaller network, or run where there is more"
# What a network, or a loss, makes of inputs that are not for it.
UNFIT = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, AttributeError)


@dataclass(frozen=True)
class NamedSample:
    """The examples that are measured, and in which groups.

    data: that they are from; index: their positions, int64 [m]; group: positions in `groups`, int64 [m]; labels: in
    place of the data's own targets, int64 [N].
    """

    data: NamedData
    index: NDArray[np.int64]
    group: NDArray[np.int64]
    groups: tuple[str, ...]
    labels: NDArray[np.int64] | None = None

    def batches(self, rows: slice, reading: BatchReading) -> Iterator[tuple[Any, Any]]:
        """(inputs, targets) of these examples of the sample, in its order."""
        positions = self.index[rows]
        if self.labels is None:
            return self.data.batches(positions, reading)
        return self.data.with_labels(positions, self.labels, reading)

    def grouped_batches(self, rows: slice, reading: BatchReading) -> Iterator[tuple[Any, Any, Tensor]]:
        """The same with the group of each example, int64 [n]."""
        start, ids = 0, torch.from_numpy(self.group[rows])
        for inputs, targets in self.batches(rows, reading):
            size = length(targets)
            yield inputs, targets, ids[start : start + size]
            start += size


def named_sample(
    data: NamedData, labels: Labels | None, by: Grouping | None, size: int | None, seed: int
) -> NamedSample:
    """A sample of some data, in groups.

    Args:
        data: to draw from.
        labels: those that were trained on, in place of the data's own.
        by: "class": a group for each class; "changed": the groups pristine and corrupt, by whether the label was
            changed; None: one group, called train, or heldout where the data are a test part.
        size: number of examples, drawn without replacement; None for all.
        seed: of the draw.

    Raises:
        UserError: the labels are of other examples, or the data do not have what the groups are made of.
    """
    count = len(data)
    if labels is not None:
        _require_labels_of(data, labels)
    changed = data.changed if labels is None else labels.changed
    index = np.arange(count, dtype=np.int64)
    if size is not None:
        index = draw_training_sample(index, np.zeros(count, dtype=np.bool_), size, seed).index
    own = None if labels is None else labels.labels
    if by is None:
        return NamedSample(data, index, np.zeros(len(index), dtype=np.int64), (WHOLE[data.part],), own)
    if by == "changed":
        if changed is None:
            raise UserError(
                f"--groups changed: found nothing in {data.name} that says whose label was changed, expected --labels "
                "L.h5, or a function that yields (inputs, targets, changed)"
            )
        group = np.where(changed[index], CORRUPT, PRISTINE).astype(np.int64)
        return NamedSample(data, index, group, (GROUPS[PRISTINE], GROUPS[CORRUPT]), own)
    classes = data.targets if own is None else own
    if classes is None:
        raise UserError(f"--groups class: found targets of {data.name} that are no classes; leave --groups out")
    names = data.class_names or tuple(str(one) for one in range(int(classes.max()) + 1))
    return NamedSample(data, index, classes[index], names, own)


def _require_labels_of(data: NamedData, labels: Labels) -> None:
    if data.part != "train" or data.targets is None or data.changed is not None:
        raise UserError(
            f"--labels: found labels of a training part for {data.name}, expected a folder of images or an images.h5, "
            "and --part train; let a function yield the labels itself"
        )
    if len(labels.original) != len(data) or not np.array_equal(labels.original, data.targets):
        raise UserError(
            f"--labels: found labels of {len(labels.original)} examples that are not those of {data.name} ({len(data)} "
            "examples), expected the labels.h5 that was made from these data"
        )


@dataclass(frozen=True)
class NamedMeasurement:
    """What is measured, and where.

    network: path of weights -> the network with these weights, in eval mode; weights: K paths, with `step` int64 [K]
    and `epoch` float64 [K]; loss: (outputs, targets) -> losses [n]; batch_norm: "running" or "sample".
    """

    network: Callable[[Path], nn.Module]
    weights: Sequence[Path]
    step: NDArray[np.int64]
    epoch: NDArray[np.float64]
    sample: NamedSample
    loss: LossFunction
    reading: BatchReading
    batch_norm: Literal["running", "sample"] = "running"
    shard: Shard = EVERYTHING
    run: Mapping[str, Any] = field(default_factory=dict)


def write_named_measurement(path: Path, measurement: NamedMeasurement, attributes: Mapping[str, Any]) -> None:
    """Measure at every set of weights and write coherence.h5, or a shard of it, which keeps S besides.

    Raises:
        UserError: a network and its data do not fit together, or its per-example gradients cannot be had.
    """
    schemas, sharded = schemas_of("coherence"), measurement.shard.count > 1
    with new_hdf5(path, schemas.shard if sharded else schemas.whole) as file:
        keep = partial(write_group_sums, file) if sharded else _let_go
        sample, records, evidence = measurement.sample, [], []
        for k, weights in enumerate(measurement.weights):
            model = fitting_network(measurement, weights)
            statistics = _statistics(measurement, model, weights.name)
            keep(k, statistics)
            records.append(record_of(statistics))
            evidence.append(evidence_of(statistics))
        datasets = {
            "step": measurement.step,
            "epoch": measurement.epoch,
            "diverged": np.zeros(len(records), dtype=np.bool_),
            "sample/index": sample.index,
            "sample/group": sample.group,
            **stacked(records).datasets(model, sample.groups),
        }
        normalised = normalised_by(model, measurement.batch_norm)
        measured = {"run": measurement.run, "evidence": merged(evidence).as_json(), "batch_norm": normalised}
        write_contents(file, datasets, {**attributes, **measured})


def _let_go(_k: int, _statistics: GradientStatistics) -> None:
    """Keep no S: it is as large as the network."""


def as_measured(measurement: NamedMeasurement, model: nn.Module) -> nn.Module:
    """The network whose gradients are measured: with the running statistics that batch norm is asked to take."""
    if measurement.batch_norm != "sample":
        return model
    try:
        return with_sample_statistics(model, _Inputs(measurement.sample, measurement.reading))
    except ValueError as error:
        raise UserError(f"--batch-norm sample: {error}; give --batch-norm running") from error


def _statistics(measurement: NamedMeasurement, model: nn.Module, name: str) -> GradientStatistics:
    """The statistics of the shard of the sample at one set of weights."""
    sample, reading = measurement.sample, measurement.reading
    model = as_measured(measurement, model)
    rows = measurement.shard.rows(len(sample.index))
    count = sample.data.batch_count(sample.index[rows], reading)
    batches = progress(sample.grouped_batches(rows, reading), count, f"measure {name}")
    return gradient_statistics(model, measurement.loss, batches, groups=sample.groups, spot_check=2)


class _Inputs:
    """The inputs of a whole sample in batches (inputs,), which can be gone through again and again."""

    def __init__(self, sample: NamedSample, reading: BatchReading) -> None:
        self._sample, self._reading = sample, reading

    def __iter__(self) -> Iterator[tuple[Any]]:
        for inputs, _ in self._sample.batches(slice(None), self._reading):
            yield (inputs,)


def fitting_network(measurement: NamedMeasurement, weights: Path) -> nn.Module:
    """The network with these weights on the device, once it and the loss took two examples of the sample.

    Raises:
        UserError: it does not take them, it has another number of outputs than there are classes, or the sums of its
            gradients do not fit in memory.
    """
    sample, reading = measurement.sample, measurement.reading
    model = unwrapped(measurement.network(weights)).to(reading.device, reading.dtype)
    _require_memory(model, sample.groups)
    sized_by = sample.data.sized_by
    with enough_memory(LOWER, "two examples", sized_by) if sized_by else nullcontext():
        inputs, targets = next(sample.batches(slice(0, 2), reading))
    name = sample.data.name
    smaller = (LOWER, "two examples", sized_by) if sized_by else (SMALLER, "two examples", "--model")
    try:
        with torch.enable_grad(), enough_memory(*smaller):
            outputs = outputs_of(model, inputs)
    except UNFIT as error:
        _pass_on(error)
        raise UserError(
            f"{name}: found {_in_words(inputs)}, which the network does not take ({first_line(error)}); expected "
            "inputs as it was trained on; look at --model, and at how the data are read"
        ) from error
    names = sample.data.class_names
    if names is not None and isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.shape[1] != len(names):
        raise UserError(
            f"{name}: found {len(names)} classes and a network of {outputs.shape[1]} outputs, expected as many; give "
            "the network's options, or, of a folder, name its classes in the order of the outputs by --class-names"
        )
    _require_labels_within(measurement, outputs)
    try:
        with enough_memory(*smaller):
            losses = measurement.loss(outputs, targets)
    except UNFIT as error:
        _pass_on(error)
        raise UserError(
            f"{name}: found targets ({_in_words(targets)}) or outputs ({_in_words(outputs)}) that the loss does not "
            f"take ({first_line(error)}); look at --model, --loss and the targets"
        ) from error
    if not isinstance(losses, Tensor) or losses.shape != (length(inputs),):
        raise UserError(
            f"--loss: found {_in_words(losses)} for {length(inputs)} examples, expected one loss for each; let "
            "it return them unreduced, summed over what else an example has"
        )
    if losses.is_complex():
        raise UserError(
            f"--loss: found losses of type {str(losses.dtype).removeprefix('torch.')}, expected real numbers, which "
            "can be lowered; let it return .real or .abs() of them"
        )
    if not losses.requires_grad and any(p.requires_grad for p in model.parameters()):
        raise UserError(
            "--loss: found losses that do not depend on the weights, expected some that do; take out what detaches "
            "them in the loss or in the network (detach, no_grad, item)"
        )
    return model


def _pass_on(error: Exception) -> None:
    """Raise again what is for want of memory, or of a deterministic algorithm: it says nothing of data or network."""
    if is_of_device(error):
        raise error


def _require_labels_within(measurement: NamedMeasurement, outputs: Any) -> None:
    """UserError where cross-entropy would be asked for a class that the network has no output for."""
    sample = measurement.sample
    labels = sample.data.label_values if sample.labels is None else np.unique(sample.labels)
    of_classes = isinstance(measurement.loss, nn.CrossEntropyLoss) and isinstance(outputs, Tensor) and outputs.ndim > 1
    if not of_classes or labels is None:
        return
    classes = outputs.shape[1]
    stray = labels[(labels != IGNORED) & ((labels < 0) | (labels >= classes))]
    if len(stray):
        more = f" (and {len(stray) - 1} more)" if len(stray) > 1 else ""
        raise UserError(
            f"{sample.data.name}: found the label {stray[0]}{more}, which none of the {classes} outputs stands "
            f"for, expected labels from 0 to {classes - 1} (or {IGNORED}, which cross-entropy leaves out); mend the "
            "targets, or give the network as many outputs by --model-options"
        )


def _require_memory(model: nn.Module, groups: Sequence[str]) -> None:
    """UserError where the sums of the gradients of so many groups are larger than this machine's memory."""
    needed = len(groups) * sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise UserError(
            f"--groups: found {len(groups)} groups, whose sums of gradients take {needed / 1e9:.0f} GB, expected at "
            f"most the {there / 1e9:.0f} GB of this machine; measure fewer classes, or leave --groups out"
        )


def _in_words(tree: Any) -> str:
    """The shapes and types of the tensors, or the kind of anything else."""
    if isinstance(tree, Tensor):
        return f"{list(tree.shape)} of {str(tree.dtype).removeprefix('torch.')}"
    within = ", ".join(map(_in_words, leaves(tree)))
    return f"a {type(tree).__name__}{f' of {within}' if within else ''}"
