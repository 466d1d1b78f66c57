"""Data that a user names: a folder of images, an images.h5, or a function "module:function" that yields batches.

Whatever they are, they have N examples in a fixed order, and give those at some positions in batches.

Index letters: n examples of a batch, C channels, H and W pixels.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mcoherence.data.image_folder import FOLDERS, ImageFile, class_folders, decode_files, images_of_classes
from mcoherence.data.loading import image_loader, input_table, inputs_of
from mcoherence.data.pixels import LARGEST
from mcoherence.data.store import read_class_names, read_targets
from mcoherence.device import sent
from mcoherence.errors import UserError
from mcoherence.files.digests import sha256_of
from mcoherence.files.progress import progress
from mcoherence.files.provenance import digest_of

Positions = NDArray[np.int64]
IMAGENET_MEAN, IMAGENET_STD = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # by which torchvision's weights were trained
IGNORED = -100  # the target that torch's cross-entropy leaves out: loss 0, gradient 0


@dataclass(frozen=True)
class BatchReading:
    """How batches are read; none of it decides a number but by rounding.

    device: where they are wanted; dtype: of numbers with a fraction; batch_size: examples of a batch, of data that come
    in none of their own; workers: processes that read ahead.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    batch_size: int = 64
    workers: int = 2


class NamedData(ABC):
    """N examples in a fixed order.

    name: as the user wrote it; part: "train" or "test", what they are called in a result. `sized_by` are
    the options that say how large one example is, if any do.
    """

    sized_by: str | None = None

    def __init__(self, name: str, part: str) -> None:
        self.name, self.part = name, part

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @property
    @abstractmethod
    def targets(self) -> Positions | None:
        """The class of each example, int64 [N]; None where a target is something else."""

    @property
    def label_values(self) -> NDArray[np.int64] | None:
        """The different classes among the targets, int64, ascending; None where targets are something else."""
        return None if self.targets is None else np.unique(self.targets)

    @property
    def left_out(self) -> int:
        """How many examples have the target IGNORED."""
        return 0

    @property
    def changed(self) -> NDArray[np.bool_] | None:
        """Whose label was changed, bool [N], where the data themselves say it."""
        return None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes in the order of the targets, where the data say how many there are."""
        return None

    @property
    def input_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of one image; None where inputs are something else."""
        return None

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the inputs depend on besides the files, as a result records it."""

    @abstractmethod
    def digests(self, positions: Positions) -> dict[str, str]:
        """Name -> digest of what the examples at these positions are read from."""

    @abstractmethod
    def batches(self, positions: Positions, reading: BatchReading) -> Iterator[tuple[Any, Any]]:
        """(inputs, targets) of the examples at these positions, in their order, on the device."""

    def batch_count(self, positions: Positions, reading: BatchReading) -> int:
        """How many batches `batches` gives."""
        return math.ceil(len(positions) / reading.batch_size)

    def files(self) -> Sequence[str] | None:
        """The file of each example, where each has one of its own."""
        return None

    def with_labels(self, positions: Positions, labels: Positions, reading: BatchReading) -> Iterator[tuple[Any, Any]]:
        """`batches` with other targets, labels int64 [N] of all examples."""
        start, chosen = 0, torch.from_numpy(labels[positions])
        for inputs, targets in self.batches(positions, reading):
            yield inputs, chosen[start : start + len(targets)].to(reading.device)
            start += len(targets)


class ImagesOfFolder(NamedData):
    """A folder with a folder of images for each class: resized, centre cropped and normalised.

    Classes are in the order of their names, as torchvision's ImageFolder has them, or in that of `class_names`.
    """

    sized_by = "--size, --resize"

    def __init__(
        self,
        folder: Path,
        part: str,
        resize: int = 256,
        size: int = 224,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        class_names: Sequence[str] | None = None,
    ) -> None:
        """List the images; errors of `images_of_classes`, and UserError where folders and names do not agree."""
        super().__init__(str(folder), part)
        for key, side in (("--size", size), ("--resize", resize)):
            if side**2 > LARGEST:
                raise UserError(
                    f"{key}: found {side}, expected at most {math.isqrt(LARGEST)}, as no image of more than {LARGEST} "
                    "pixels is read; lower it"
                )
        if resize < size:
            raise UserError(f"--resize: found {resize}, expected at least the {size} of --size; raise it")
        numbers = [*mean, *std]
        if len(mean) != 3 or len(std) != 3 or not np.isfinite(numbers).all() or min(std) <= 0:
            raise UserError(f"--mean, --std: found {mean}, {std}, expected three finite numbers each, --std above 0")
        self._resize, self._side = resize, size
        self._mean, self._std = np.array(mean, dtype=np.float64), np.array(std, dtype=np.float64)
        found = sorted(class_folders(folder))
        if set(found) == set(FOLDERS.values()):
            raise UserError(
                f"{folder}: found the folders {' and '.join(found)}, expected one folder of images per class; name one "
                f"of them: --data {folder / found[0]}"
            )
        if not found:
            raise UserError(
                f"{folder}: found no folders, expected one folder of images per class; sort the images into folders"
            )
        names = tuple(class_names or found)
        if unknown := sorted(set(found) - set(names)):
            raise UserError(
                f"{folder}: found the folder {unknown[0]}, which --class-names lacks, expected a name for each; add it"
            )
        self._names = names
        present = [name for name in names if name in found]
        self._files, places = images_of_classes(folder, present)
        self._targets = np.array([names.index(name) for name in present], dtype=np.int64)[places]
        self._folder = folder

    def __len__(self) -> int:
        return len(self._files)

    @property
    def targets(self) -> Positions:
        """The place of each image's folder among the names."""
        return self._targets

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the folders."""
        return self._names

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Three channels, and as large as --size says."""
        return 3, self._side, self._side

    def settings(self) -> dict[str, Any]:
        """The resizing, cropping and normalising, and the order of the classes."""
        how = {"resize": self._resize, "size": self._side, "mean": self._mean.tolist(), "std": self._std.tolist()}
        return {"kind": "folder", **how, "class_names": list(self._names)}

    def files(self) -> list[str]:
        """Path of each image below the folder."""
        return [str(Path(file.path).relative_to(self._folder)) for file in self._files]

    def digests(self, positions: Positions) -> dict[str, str]:
        """Of the folder: SHA-256 of the paths and contents of the images at these positions."""
        names, digest = self.files(), hashlib.sha256()
        for position in progress(positions.tolist(), len(positions), "digest of the images"):
            digest.update(f"{names[position]}\n{sha256_of(Path(self._files[position].path))}\n".encode())
        return {self.name: f"images:{digest.hexdigest()}"}

    def batches(self, positions: Positions, reading: BatchReading) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs [n, 3, H, W] and classes int64 [n]; UserError naming the images that do not decode."""
        table = torch.from_numpy(input_table(self._mean, self._std)).to(reading.dtype).to(reading.device)
        chosen = np.split(positions, range(reading.batch_size, len(positions), reading.batch_size))
        images = _Decoded([self._files[position] for position in positions], self._resize, self._side)
        rows = np.split(np.arange(len(positions)), range(reading.batch_size, len(positions), reading.batch_size))
        workers = reading.workers if len(chosen) > 1 else 0
        loader: DataLoader[Any] = DataLoader(
            images, batch_size=None, sampler=rows, num_workers=workers, generator=torch.Generator()
        )
        for where, (pixels, complaints) in zip(chosen, loader, strict=True):
            if complaints:
                raise UserError(
                    f"found {len(complaints)} images that do not decode: {'; '.join(complaints)}; mend or remove them"
                )
            targets = torch.from_numpy(self._targets[where])
            yield inputs_of(pixels.to(reading.device), table), targets.to(reading.device)


class _Decoded(Dataset[tuple[Tensor, list[str]]]):
    """Batches of pixels, decoded in the process that asks for them."""

    def __init__(self, files: Sequence[ImageFile], resize: int, size: int) -> None:
        self.files, self.resize, self.size = files, resize, size

    def __getitem__(self, rows: Positions) -> tuple[Tensor, list[str]]:
        """Pixels uint8 [n, 3, size, size], and a line about each file that does not decode."""
        images, complaints = decode_files([self.files[row] for row in rows], self.resize, self.size)
        return torch.from_numpy(images), complaints


class ImagesOfStore(NamedData):
    """A part of an images.h5 of a study: inputs are what its networks are given."""

    def __init__(self, path: Path, part: str) -> None:
        """Read its targets; UserError where the file is missing, damaged or something else."""
        super().__init__(str(path), part)
        self._path = path
        self._targets, self._names = read_targets(path, part), read_class_names(path)

    def __len__(self) -> int:
        return len(self._targets)

    @property
    def targets(self) -> Positions:
        """The classes."""
        return self._targets

    @property
    def class_names(self) -> tuple[str, ...]:
        """As the file names them."""
        return self._names

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Of the file's images."""
        return image_loader(self._path, np.zeros(0, np.int64), torch.device("cpu"), part=self.part).input_shape

    def settings(self) -> dict[str, Any]:
        """Nothing but the part: the file says the rest."""
        return {"kind": "images.h5"}

    def digests(self, positions: Positions) -> dict[str, str]:
        """Of the file."""
        return {self.name: digest_of(self._path)}

    def batches(self, positions: Positions, reading: BatchReading) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs [n, C, H, W] and classes int64 [n]."""
        images = image_loader(
            self._path, positions, reading.device, part=self.part, dtype=reading.dtype, workers=reading.workers
        )
        rows = np.split(np.arange(len(positions)), range(reading.batch_size, len(positions), reading.batch_size))
        for where, inputs in zip(rows, images.batches(enumerate(rows)), strict=True):
            yield inputs, sent(torch.from_numpy(self._targets[positions[where]]), reading.device)
