"""Batches of a prepared part on a device: from memory where the part fits, else streamed from its file.

Which of the two it is changes no bit of a batch. Pixels become network inputs by a table of the 256 values that a
channel can have: (pixel / 255 - mean) / std, computed in float64.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mcoherence.data.arguments import places
from mcoherence.data.read_ahead import read_ahead, shared_room
from mcoherence.data.store import IMAGES_SCHEMA, require_part
from mcoherence.device import sent
from mcoherence.errors import UserError
from mcoherence.files.faults import REMEDY, UnreadableError
from mcoherence.files.hdf5 import open_hdf5

# (number of the draw within the run, positions within the N examples)
Draw = tuple[int, NDArray[np.int64]]
# (inputs [n, C, H, W], number of the draw) -> inputs of the same shape
Augment = Callable[[Tensor, int], Tensor]

GATHER_BYTES, DRAWS_AT_ONCE = 2**20, 16  # of small batches that are taken from memory together, at most
READ_BYTES = 2**26  # of images that are read at once when a part is taken into memory


def image_loader(
    images_path: str | os.PathLike[str],
    positions: NDArray[np.int64],
    device: torch.device,
    *,
    part: str = "train",
    dtype: torch.dtype = torch.float32,
    memory_bytes: int = 2**31,
    workers: int = 2,
    augment: Augment | None = None,
) -> "ImageLoader":
    """A loader of the images at `positions` of one part of images.h5.

    Args:
        images_path: path of images.h5.
        positions: which images of the part, int64 [N]; the order is kept.
        device: where the batches are wanted.
        part: "train" or "test".
        dtype: of the inputs.
        memory_bytes: operational. The part lives on the device as inputs where they take no more than this, else as
            pixels where those take no more, else it is streamed.
        workers: operational: processes that read ahead when streaming; 0 reads in this process. Fewer where their
            batches do not fit in shared memory.
        augment: what becomes of a batch at last, such as partial(augmented, settings=..., seed=...); None for nothing.

    Raises:
        UserError: the file is missing, damaged or something else; the part or a position is none of it.
    """
    images_path = Path(images_path)
    with open_hdf5(images_path, IMAGES_SCHEMA) as file:
        require_part(images_path, part)
        images = file[f"{part}/images"]
        positions = places(f"{images_path}: {part}", positions, len(images))
        stored = StoredImages(images_path, part, positions, images.shape[1:], len(file.attrs["class_names"]))
        table = torch.from_numpy(input_table(file.attrs["mean"], file.attrs["std"])).to(dtype).to(device)
        pixels = len(positions) * int(np.prod(stored.input_shape))
        preprocessing = Preprocessing(table, augment)
        if pixels * dtype.itemsize <= memory_bytes:
            inputs = torch.empty((len(positions), *stored.input_shape), dtype=dtype, device=device)
            for rows, block in _rows_of(images, positions):
                inputs[sent(rows, device)] = inputs_of(sent(block, device), table)
            return ResidentImageLoader(stored, preprocessing, inputs)
        if pixels <= memory_bytes:
            kept = torch.empty((len(positions), *stored.input_shape), dtype=torch.uint8, device=device)
            for rows, block in _rows_of(images, positions):
                kept[sent(rows, device)] = sent(block, device)
            return ResidentImageLoader(stored, preprocessing, kept)
    return StreamedImageLoader(stored, preprocessing, workers)


def input_table(mean: NDArray[np.float64], std: NDArray[np.float64]) -> NDArray[np.float64]:
    """The input (pixel / 255 - mean) / std for every channel and pixel value, float64 [C, 256]."""
    values: NDArray[np.float64] = (np.arange(256) / 255.0 - np.reshape(mean, (-1, 1))) / np.reshape(std, (-1, 1))
    return values


def inputs_of(pixels: Tensor, table: Tensor) -> Tensor:
    """Inputs [n, C, H, W] of the table's type, from pixels uint8 [n, C, H, W] and a table [C, 256] on one device."""
    inputs = torch.empty(pixels.shape, dtype=table.dtype, device=pixels.device)
    for channel, values in enumerate(table):  # by channel, since index_select wants one row of values
        index = pixels[:, channel].int()
        inputs[:, channel] = values.index_select(0, index.flatten()).view(index.shape)
    return inputs


@dataclass(frozen=True)
class StoredImages:
    """Images of a prepared store: file, part and positions in it, int64 [N]; shape (C, H, W); number of classes."""

    path: Path
    part: str
    positions: NDArray[np.int64]
    input_shape: tuple[int, int, int]
    num_classes: int


@dataclass(frozen=True)
class Preprocessing:
    """What becomes of pixels: the `input_table` [C, 256] on the device of the batches, and the augmentation."""

    table: Tensor
    augment: Augment | None = None

    @property
    def device(self) -> torch.device:
        """Where the batches are wanted."""
        return self.table.device


class ImageLoader(ABC):
    """N images of one part, as batches of network inputs on a device."""

    def __init__(self, stored: StoredImages, preprocessing: Preprocessing) -> None:
        self.stored = stored
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.stored.positions)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one input."""
        return self.stored.input_shape

    @property
    def num_classes(self) -> int:
        """Number of classes of the data set."""
        return self.stored.num_classes

    def batches(self, schedule: Iterable[Draw]) -> Iterator[Tensor]:
        """For every (draw number, positions int64 [n] within the N) the inputs [n, C, H, W] on the device.

        The schedule may be endless. It is read ahead of the batches.
        """
        for _, inputs in self.indexed_batches(schedule):
            yield inputs

    def indexed_batches(self, schedule: Iterable[Draw]) -> Iterator[tuple[Tensor, Tensor]]:
        """As `batches`, each with its positions: (int64 [n], inputs [n, C, H, W]), both on the device."""
        for draw, index, inputs in self._inputs(schedule):
            if self.preprocessing.augment is not None:
                inputs = self.preprocessing.augment(inputs, draw)
            yield index, inputs

    @abstractmethod
    def _inputs(self, schedule: Iterable[Draw]) -> Iterator[tuple[int, Tensor, Tensor]]:
        """For every draw its number, its positions on the device, and its inputs before any augmentation."""


class ResidentImageLoader(ImageLoader):
    """Images that live whole on the device: a batch is an index."""

    def __init__(self, stored: StoredImages, preprocessing: Preprocessing, values: Tensor) -> None:
        """Keep the inputs, or the pixels uint8, of all images: `values` [N, C, H, W] on the device."""
        super().__init__(stored, preprocessing)
        self.values = values

    def _inputs(self, schedule: Iterable[Draw]) -> Iterator[tuple[int, Tensor, Tensor]]:
        ahead = iter(schedule)
        for first in ahead:
            # Small batches are taken several at a time: one index costs about as much as the update of a small network.
            beside = GATHER_BYTES // max(1, len(first[1]) * self.values[:1].nbytes) - 1
            block = [first, *islice(ahead, min(max(beside, 0), DRAWS_AT_ONCE - 1))]
            together = np.concatenate([positions for _, positions in block])
            index = sent(torch.from_numpy(together), self.preprocessing.device)
            chosen = self.values.index_select(0, index)
            inputs = inputs_of(chosen, self.preprocessing.table) if chosen.dtype == torch.uint8 else chosen
            sizes = [len(positions) for _, positions in block]
            parts = zip(block, torch.split(index, sizes), torch.split(inputs, sizes), strict=True)
            yield from ((draw, places, part) for (draw, _), places, part in parts)


class StreamedImageLoader(ImageLoader):
    """Images that are read from the file batch by batch, ahead of their use, by worker processes."""

    def __init__(self, stored: StoredImages, preprocessing: Preprocessing, workers: int) -> None:
        super().__init__(stored, preprocessing)
        self.workers = workers

    def _inputs(self, schedule: Iterable[Draw]) -> Iterator[tuple[int, Tensor, Tensor]]:
        draws = iter(schedule)
        first = next(draws, None)
        if first is None:
            return
        workers, batches = read_ahead(self.workers, len(first[1]) * prod(self.input_shape), shared_room())
        # A generator of its own: DataLoader would draw from torch's, and the run's dropout would change with it.
        loader: DataLoader[Any] = DataLoader(
            PixelReader(self.stored),
            batch_size=None,
            sampler=chain([first], draws),
            num_workers=workers,
            prefetch_factor=batches if workers else None,
            pin_memory=self.preprocessing.device.type == "cuda",
            generator=torch.Generator(),
        )
        try:
            for draw, positions, pixels in loader:
                index, pixels = (part.to(self.preprocessing.device, non_blocking=True) for part in (positions, pixels))
                yield draw, index, inputs_of(pixels, self.preprocessing.table)
        except OSError as error:
            reason = str(error).strip().splitlines()[-1]
            if error.errno or "[Errno" in reason:  # of the disk or the network, which says nothing of the file
                raise UnreadableError(self.stored.path, reason) from error
            raise UserError(f"{self.stored.path}: damaged ({reason}); {REMEDY}") from error


@dataclass(frozen=True)
class LabelledExamples:
    """Images with the labels int64 [N] that they are trained with, on the device of their batches."""

    images: ImageLoader
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one input."""
        return self.images.input_shape

    @property
    def num_classes(self) -> int:
        """Number of classes of the data set."""
        return self.images.num_classes

    def batches(self, schedule: Iterable[Draw]) -> Iterator[tuple[Tensor, Tensor]]:
        """For every (draw number, positions int64 [n]) the inputs [n, C, H, W] and the labels [n], on the device."""
        for index, inputs in self.images.indexed_batches(schedule):
            yield inputs, self.labels.index_select(0, index)


class PixelReader(Dataset[tuple[int, Tensor, Tensor]]):
    """Batches of pixels, read from images.h5 in the process that asks for them."""

    def __init__(self, stored: StoredImages) -> None:
        self.stored = stored
        self.images: h5py.Dataset | None = None

    def __getitem__(self, draw: Draw) -> tuple[int, Tensor, Tensor]:
        """The number of the draw, its positions int64 [n], and its pixels uint8 [n, C, H, W]."""
        if self.images is None:  # opened in the worker, since an open file does not survive a fork
            self.images = h5py.File(self.stored.path, "r")[f"{self.stored.part}/images"]
        number, positions = draw
        rows = self.stored.positions[positions]
        pixels = np.empty((len(rows), *self.stored.input_shape), dtype=np.uint8)
        for place in np.argsort(rows):  # in the order of the file, one by one: much faster than h5py's index by list
            pixels[place] = self.images[rows[place]]
        return number, torch.from_numpy(positions), torch.from_numpy(pixels)


def _rows_of(images: h5py.Dataset, positions: NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor]]:
    """The images at `positions` in order of the file: (places in `positions` int64 [n], pixels uint8 [n, C, H, W])."""
    step = max(1, READ_BYTES // int(np.prod(images.shape[1:])))
    order = np.argsort(positions, kind="stable")
    ordered = positions[order]
    for start in range(0, len(images), step):
        first, last = np.searchsorted(ordered, (start, start + step))
        if first < last:
            block = images[start : start + step]
            yield torch.from_numpy(order[first:last]), torch.from_numpy(block[ordered[first:last] - start])
