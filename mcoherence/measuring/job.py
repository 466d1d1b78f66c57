"""What a job that measures or evaluates along a run is given: files, a device, and a share of the examples."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mcoherence.data.loading import ImageLoader, image_loader
from mcoherence.models.build import is_own
from mcoherence.models.checkpoints import load_checkpoint, network_of_checkpoint, read_checkpoint_metadata
from mcoherence.models.memory import Way, example_bytes
from mcoherence.study.shards import EVALUATED_BATCH, MEASURED_BATCH, Shard, batch_within

EVERYTHING = Shard()


@dataclass(frozen=True)
class Moments:
    """When in a run its K checkpoints are, as they say themselves.

    step: updates made, int64 [K]; epoch: passes over the examples, float64 [K]; diverged: whether the run had diverged,
    bool [K]; run: what names it.
    """

    step: NDArray[np.int64]
    epoch: NDArray[np.float64]
    diverged: NDArray[np.bool_]
    run: Mapping[str, Any]

    def datasets(self) -> dict[str, NDArray[Any]]:
        """The datasets step, epoch and diverged of the results along a run."""
        return {"step": self.step, "epoch": self.epoch, "diverged": self.diverged}


@dataclass(frozen=True)
class MeasuringJob:
    """Along which run a job measures or evaluates, where, and which shard of the examples.

    images: path of images.h5; checkpoints: paths of the run's K checkpoints, in the order of training; memory_bytes and
    workers: operational, as `image_loader` takes them; own_network: "module:function" of a user's own network, as the
    job's settings name it, since no checkpoint may say which code is run; batch_bytes: operational, that the
    examples of a batch may take where they are computed, None for any number.
    """

    images: Path
    checkpoints: Sequence[Path]
    device: torch.device
    memory_bytes: int = 2**31
    workers: int = 2
    shard: Shard = EVERYTHING
    own_network: str | None = None
    batch_bytes: int | None = None

    def evaluated_batch(self, dtype: torch.dtype) -> int:
        """Examples that are passed through the network at a time: EVALUATED_BATCH, or fewer that fit in memory."""
        return batch_within(self.batch_bytes, self._example_bytes("evaluate", dtype), EVALUATED_BATCH)

    def measured_batch(self, dtype: torch.dtype, *, products: bool = False) -> int:
        """Examples whose gradients are taken at a time: MEASURED_BATCH, or fewer that fit in memory.

        Args:
            dtype: of the passes.
            products: whether products of single gradients are taken too, which keep as much again.
        """
        kept = (2 if products else 1) * self._example_bytes("measure", dtype)
        return batch_within(self.batch_bytes, kept, MEASURED_BATCH)

    def _example_bytes(self, way: Way, dtype: torch.dtype) -> float:
        """What one example takes in the run's network; 0 where that cannot be told."""
        if self.batch_bytes is None:
            return 0.0
        network = network_of_checkpoint(self.checkpoints[0])
        if is_own(network.settings) and self.own_network != network.settings["architecture"]:
            return 0.0  # refused when it is loaded
        with suppress(Exception):  # a user's own network can do anything with black images; what it does then, it says
            return example_bytes(network.settings, network.input_shape, network.num_classes, way, dtype)
        return 0.0

    def network(self, checkpoint: Path) -> nn.Module:
        """The network of a checkpoint on the CPU, in eval mode; errors of `load_checkpoint`."""
        return load_checkpoint(checkpoint, self.own_network)

    def load(self, part: str, positions: NDArray[np.int64], dtype: torch.dtype = torch.float32) -> ImageLoader:
        """A loader of the images at `positions` of the part "train" or "test"."""
        return image_loader(
            self.images,
            positions,
            self.device,
            part=part,
            dtype=dtype,
            memory_bytes=self.memory_bytes,
            workers=self.workers,
        )

    def moments(self) -> Moments:
        """When in the run the checkpoints are.

        Raises:
            UserError: a file is no checkpoint.
        """
        metadata = [read_checkpoint_metadata(path) for path in self.checkpoints]
        return Moments(
            step=np.array([one["step"] for one in metadata], dtype=np.int64),
            epoch=np.array([one["epoch"] for one in metadata], dtype=np.float64),
            diverged=np.array(["diverged_at" in one for one in metadata], dtype=np.bool_),
            run=metadata[0]["run"],
        )
