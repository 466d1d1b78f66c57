"""What a job that measures or evaluates along a run is given: files, a device, and a share of the examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mcoherence.data.loading import ImageLoader, image_loader
from mcoherence.study.shards import Shard

EVERYTHING = Shard()


@dataclass(frozen=True)
class MeasuringJob:
    """Along which run a job measures or evaluates, where, and which shard of the examples.

    images: path of images.h5; checkpoints: paths of the run's K checkpoints, in the order of training; memory_bytes and
    workers: operational, as `image_loader` takes them.
    """

    images: Path
    checkpoints: Sequence[Path]
    device: torch.device
    memory_bytes: int = 2**31
    workers: int = 2
    shard: Shard = EVERYTHING

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
