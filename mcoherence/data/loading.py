"""The examples of a run as network inputs, batch by batch. Stand-in until the branch w-data is merged."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcoherence.data.batches import normalized
from mcoherence.data.store import read_images


@dataclass(frozen=True)
class Examples:
    """Normalised inputs [N, C, H, W] that live whole on the device."""

    inputs: Tensor
    num_classes: int

    def __len__(self) -> int:
        """The number N of examples."""
        return len(self.inputs)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one input."""
        channels, height, width = self.inputs.shape[1:]
        return channels, height, width

    def batches(self, schedule: Iterable[tuple[int, NDArray[Any]]]) -> Iterator[Tensor]:
        """For every (draw number, positions [n]) the inputs [n, C, H, W] on the device."""
        ahead = iter(schedule)
        while block := [positions for _, positions in islice(ahead, 16)]:
            index = torch.from_numpy(np.concatenate(block)).to(self.inputs.device)
            yield from torch.split(self.inputs.index_select(0, index), [len(positions) for positions in block])


def examples(
    images_path: Path,
    positions: NDArray[Any],
    device: torch.device,
    *,
    augmentation: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Examples:
    """The examples at `positions` int64 [N] of the training part."""
    del augmentation, seed
    part = read_images(images_path, "train")
    return Examples(normalized(part)[positions].to(device), part.num_classes)
