"""The prepared image store (images.h5) and the labels of a run (labels.h5), read into memory."""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcoherence.errors import UserError
from mcoherence.files.hdf5 import open_hdf5, read_mapping

IMAGES_SCHEMA = "mcoherence/images/2"
LABELS_SCHEMA = "mcoherence/labels/2"
PARTS = ("train", "test")


@dataclass(frozen=True)
class ImagePart:
    """One part (train or test) of a prepared data set.

    images: uint8 [N, C, H, W]; targets: int64 [N]; mean, std: float64 [C], of the training part's pixels / 255.
    """

    images: NDArray[np.uint8]
    targets: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    num_classes: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width


@dataclass(frozen=True)
class SourceOrigin:
    """What images.h5 says of where its images are from.

    source: the key of the config's entry; train, test: images in each part; published: whether checksums show that the
    files it was read from are the published ones, in words; None where the source has no such files.
    """

    source: str
    train: int
    test: int
    published: str | None


@dataclass(frozen=True)
class Labels:
    """Labels of the training part: as trained on, as they were, and the masks; int64 [N] and bool [N]."""

    labels: NDArray[np.int64]
    original: NDArray[np.int64]
    selected: NDArray[np.bool_]
    changed: NDArray[np.bool_]


def read_images(path: str | os.PathLike[str], part: str) -> ImagePart:
    """The part "train" or "test" of images.h5, whole in memory; `loading.image_loader` reads it batch by batch.

    Example:
        part = read_images("results/digits/data/digits/images.h5", "test")
        inputs = (part.images / 255 - part.mean[:, None, None]) / part.std[:, None, None]  # what networks are given

    Raises:
        UserError: the file is missing, damaged or something else, or there is no such part.
    """
    with open_hdf5(path, IMAGES_SCHEMA) as file:
        require_part(path, part)
        return ImagePart(
            images=file[f"{part}/images"][:],
            targets=np.asarray(file[f"{part}/targets"][:], dtype=np.int64),
            mean=np.asarray(file.attrs["mean"], dtype=np.float64),
            std=np.asarray(file.attrs["std"], dtype=np.float64),
            num_classes=len(file.attrs["class_names"]),
        )


def read_targets(path: str | os.PathLike[str], part: str) -> NDArray[np.int64]:
    """The targets int64 [N] of the part "train" or "test" of images.h5, without its images."""
    with open_hdf5(path, IMAGES_SCHEMA) as file:
        require_part(path, part)
        return np.asarray(file[f"{part}/targets"][:], dtype=np.int64)


def require_part(path: str | os.PathLike[str], part: str) -> None:
    """UserError where a part of images.h5 that is asked for is none."""
    if part not in PARTS:
        raise UserError(f"{path}: found part {part!r} asked for, expected {' or '.join(PARTS)}; choose one")


def read_test_targets(path: str | os.PathLike[str]) -> NDArray[np.int64]:
    """The targets int64 [M] of the test part that belongs to the labels of labels.h5; they are never corrupted."""
    with open_hdf5(path, LABELS_SCHEMA) as file:
        return np.asarray(file["test/targets"][:], dtype=np.int64)


def read_class_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The names of the classes of images.h5; their positions are the targets."""
    with open_hdf5(path, IMAGES_SCHEMA) as file:
        return tuple(str(name) for name in file.attrs["class_names"])


def read_origin(path: str | os.PathLike[str]) -> SourceOrigin:
    """Where the images of images.h5 are from; UserError if the file is damaged or something else."""
    with open_hdf5(path, IMAGES_SCHEMA) as file:
        train, test = (int(file[f"{part}/targets"].shape[0]) for part in PARTS)
        published = str(file.attrs["published"]) if "published" in file.attrs else None
        return SourceOrigin(str(read_mapping(file, "settings")["source"]), train, test, published)


def read_labels(path: str | os.PathLike[str]) -> Labels:
    """The labels of labels.h5; UserError if the file is damaged or something else."""
    with open_hdf5(path, LABELS_SCHEMA) as file:
        return Labels(*(file[name][:] for name in ("labels", "original", "selected", "changed")))
