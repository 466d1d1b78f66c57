"""Coherence of one checkpoint from mean gradients of mini-batches, with batch norm in training mode.

Index letters: m examples of a sample, k of a mini-batch, B mini-batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence.data.loading import ImageLoader
from mcoherence.device import sent
from mcoherence.errors import UserError
from mcoherence.gradients.minibatches import MinibatchStatistics, minibatch_statistics
from mcoherence.measuring.job import MeasuringJob
from mcoherence.measuring.measurement import Measurement
from mcoherence.study.result_names import MINIBATCH_GROUPS, REDRAWN


@dataclass(frozen=True)
class _Drawn:
    """Whole mini-batches of drawn examples.

    images: of the examples in them, in the order of `index`; targets: theirs, int64 [B k], on the device; index: their
    places in the sample, int64 [B k], a mini-batch after the other.
    """

    images: ImageLoader
    targets: Tensor
    index: NDArray[np.int64]
    part: str
    examples: int


class ByMinibatches:
    """Measures the mini-batches of a measurement, or a job's shard of them, one checkpoint after the other.

    groups: train, the whole training sample, pristine and corrupt examples together; heldout; and "redrawn" where
        labels are. Mini-batches of training examples are the same with redrawn labels.
    batch: examples of a mini-batch.
    """

    def __init__(self, job: MeasuringJob, measurement: Measurement) -> None:
        """Read the images of the job's mini-batches.

        Raises:
            UserError: a part of the sample has fewer than two of them.
        """
        if measurement.minibatches is None or measurement.result.startswith(("contributions", "difficulty")):
            raise UserError(
                f"measurement.batch_norm: found minibatch for {measurement.result}, expected running or sample there: "
                "groups of examples that share mini-batches have no gradients of their own; choose one of these"
            )
        self._measurement, self._size = measurement, measurement.minibatches.size
        self.batch = self._size
        self._drawn = []
        for one, minibatch in zip(measurement.examples, measurement.minibatches.of_examples, strict=True):
            count = int(minibatch.max(initial=-1)) + 1
            if count < 2:
                raise UserError(
                    f"measurement.minibatch_size: found {self._size}, which makes {count} mini-batches of the "
                    f"{len(minibatch)} {one.part} examples measured, expected two or more; lower it"
                )
            rows = job.shard.rows(count)
            order = np.argsort(minibatch, kind="stable")[int((minibatch < 0).sum()) :]
            mine = order.reshape(count, self._size)[rows].reshape(-1)
            positions = one.sample.index[mine]
            targets = torch.from_numpy(one.targets[positions]).to(job.device)
            images = job.load(one.part, positions, measurement.dtype)
            self._drawn.append(_Drawn(images, targets, mine, one.part, len(minibatch)))
        self.groups = (*MINIBATCH_GROUPS, *([REDRAWN] if measurement.redrawn else []))

    def measure(self, model: nn.Module, step: int) -> MinibatchStatistics:
        """The statistics of the checkpoint of a step; the model is on the device already."""
        if not any(len(one.index) for one in self._drawn):
            return self._filled(model, 0.0)
        loss = nn.CrossEntropyLoss(reduction="none")
        return minibatch_statistics(model, loss, self._minibatches(step), self.groups, tf32=self._measurement.tf32)

    def diverged(self, model: nn.Module) -> MinibatchStatistics:
        """The record of a checkpoint that has diverged: counts, and NaN for every sum."""
        return self._filled(model, np.nan)

    def redrawn_labels(self, step: int) -> NDArray[np.int64]:
        """The labels redrawn for all training examples of the measurement at a step, int64 [m]."""
        drawn, redrawn = self._drawn[0], self._measurement.redrawn
        none = np.zeros(0, dtype=np.int64)
        return none if redrawn is None else redrawn.at(step, drawn.examples, drawn.images.num_classes)

    def drawn(self) -> dict[str, NDArray[np.int64]]:
        """The datasets that say which examples are in which group and mini-batch."""
        assert self._measurement.minibatches is not None
        said: dict[str, NDArray[np.int64]] = {}
        for one, minibatch in zip(self._drawn, self._measurement.minibatches.of_examples, strict=True):
            name, group = ("sample", 0) if one.part == "train" else ("heldout", 1)
            said |= {f"{name}/group": np.full(one.examples, group, dtype=np.int64), f"{name}/minibatch": minibatch}
        return said

    def _minibatches(self, step: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Inputs, targets and group of every mini-batch, those of the training part with either labels."""
        for one in self._drawn:
            group = MINIBATCH_GROUPS.index("train" if one.part == "train" else "heldout")
            yield from self._with_targets(one, one.targets, group)
            if one.part == "train" and self._measurement.redrawn is not None:
                labels = sent(torch.from_numpy(self.redrawn_labels(step)[one.index]), one.targets.device)
                yield from self._with_targets(one, labels, len(MINIBATCH_GROUPS))

    def _with_targets(self, one: _Drawn, targets: Tensor, group: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        chosen = np.arange(len(one.index)).reshape(-1, self._size)
        for positions, inputs in zip(chosen, one.images.batches(enumerate(chosen)), strict=True):
            yield inputs, targets.index_select(0, sent(torch.from_numpy(positions), targets.device)), group

    def _filled(self, model: nn.Module, value: float) -> MinibatchStatistics:
        """Statistics of these mini-batches whose sums all have one value."""
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        of_part = {one.part: len(one.index) // self._size for one in self._drawn}
        counts = [of_part["train"], of_part["test"], *([of_part["train"]] if self._measurement.redrawn else [])]
        return MinibatchStatistics(
            self._size,
            self.groups,
            tuple(parameters),
            np.array(counts, dtype=np.int64),
            np.full((len(counts), len(parameters)), value),
            tuple(torch.full((), value, dtype=p.dtype).expand(len(counts), *p.shape) for p in parameters.values()),
        )
