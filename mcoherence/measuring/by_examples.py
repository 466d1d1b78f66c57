"""Coherence of one checkpoint from the gradients of single examples, in eval mode.

Index letter: m examples of a sample.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence.data.loading import ImageLoader
from mcoherence.device import sent
from mcoherence.gradients.batch_norm import with_sample_statistics
from mcoherence.gradients.statistics import GradientStatistics, gradient_statistics
from mcoherence.measuring.job import EVERYTHING, MeasuringJob
from mcoherence.measuring.measurement import Measurement
from mcoherence.measuring.samples import DrawnExamples
from mcoherence.precision import float32_products
from mcoherence.study.result_names import GROUPS, REDRAWN
from mcoherence.study.shards import MEASURED_BATCH, Shard

# images of some examples, their targets int64 [m] on the images' device, and their groups int64 [m]
MeasuredExamples = tuple[ImageLoader, Tensor, NDArray[np.int64]]


class ByExamples:
    """Measures the examples of a measurement, or a job's shard of them, one checkpoint after the other.

    groups: names of the groups, "redrawn" the last of them where labels are; batch: examples that are measured at a
        time.
    """

    def __init__(self, job: MeasuringJob, measurement: Measurement) -> None:
        """Read the images of the shard; of the whole training sample, where batch norm takes its statistics."""
        self._measurement, self._job = measurement, job
        self.batch = job.measured_batch(measurement.dtype)
        self._samples = [loaded(job, one, measurement.dtype, job.shard) for one in measurement.examples]
        training = [one for one in measurement.examples if one.part == "train"]
        self._training_sizes = [len(one.sample.index) for one in training]
        self._training = [
            one for one, drawn in zip(self._samples, measurement.examples, strict=True) if drawn.part == "train"
        ]
        self.groups = (*measurement.groups, *([REDRAWN] if measurement.redrawn else []))
        self._of_statistics: InBatches | None = None
        if measurement.batch_norm == "sample":
            whole = self._training
            if job.shard.count > 1:
                whole = [loaded(job, one, measurement.dtype, EVERYTHING) for one in training]
            self._of_statistics = InBatches([images for images, _, _ in whole], self.batch)

    def measure(self, model: nn.Module, step: int) -> GradientStatistics:
        """The statistics of the checkpoint of a step; the model is on the device already."""
        if self._of_statistics is not None:
            with float32_products(self._measurement.tf32):
                model = with_sample_statistics(model, self._of_statistics)
        samples = [*self._samples, *self._redrawn(step)]
        batches = chain.from_iterable(group_batches(*one, self.batch) for one in samples)
        return measure(model, batches, self.groups, self._measurement.tf32)

    def diverged(self, model: nn.Module) -> GradientStatistics:
        """The record of a checkpoint that has diverged."""
        samples = [*self._samples, *self._redrawn(step=0)]
        return diverged_statistics(model, np.concatenate([group for _, _, group in samples]), self.groups)

    def redrawn_labels(self, step: int) -> NDArray[np.int64]:
        """The labels redrawn for all training examples of the measurement at a step, int64 [m]."""
        if self._measurement.redrawn is None:
            return np.zeros(0, dtype=np.int64)
        images, _, _ = self._training[0]
        return self._measurement.redrawn.at(step, sum(self._training_sizes), images.num_classes)

    def _redrawn(self, step: int) -> Iterator[MeasuredExamples]:
        """The training examples with redrawn labels."""
        if self._measurement.redrawn is None:
            return
        ends = np.cumsum(self._training_sizes)[:-1]
        every_label = np.split(self.redrawn_labels(step), ends)
        for (images, targets, _), labels in zip(self._training, every_label, strict=True):
            mine = sent(torch.from_numpy(labels[self._job.shard.rows(len(labels))]), targets.device)
            yield images, mine, np.full(len(mine), len(self.groups) - 1, dtype=np.int64)


class InBatches:
    """All of some images in batches (inputs,) of so many, which can be gone through again and again."""

    def __init__(self, images: Sequence[ImageLoader], batch: int = MEASURED_BATCH) -> None:
        self._images, self._batch = images, batch

    def __iter__(self) -> Iterator[tuple[Tensor]]:
        for images in self._images:
            ends = range(self._batch, len(images), self._batch)
            for inputs in images.batches(enumerate(np.split(np.arange(len(images)), ends))):
                yield (inputs,)


def loaded(job: MeasuringJob, drawn: DrawnExamples, dtype: torch.dtype, shard: Shard) -> MeasuredExamples:
    """A shard of drawn examples."""
    sample = drawn.sample.rows(shard.rows(len(drawn.sample.index)))
    images = job.load(drawn.part, sample.index, dtype)
    return images, torch.from_numpy(drawn.targets[sample.index]).to(job.device), sample.group


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
    images: ImageLoader, targets: Tensor, groups: NDArray[np.int64], batch: int = MEASURED_BATCH
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches (inputs [n, ...], targets [n], group ids [n]) of one group each, so that one pass serves each example.

    Args:
        images: the m examples of a sample.
        targets: their labels, int64 [m].
        groups: their groups, int64 [m].
        batch: examples of a batch, at most.
    """
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    chosen = [part for one in members for part in np.split(one, range(batch, len(one), batch))]
    for positions, inputs in zip(chosen, images.batches(enumerate(chosen)), strict=True):
        index = sent(torch.from_numpy(positions), targets.device)
        yield inputs, targets.index_select(0, index), torch.from_numpy(groups[positions])
