"""What is read whole of the prepared image store (images.h5), and the labels of a run (labels.h5)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcoherence.files.hdf5 import open_hdf5

IMAGES_SCHEMA = "mcoherence/images/2"
LABELS_SCHEMA = "mcoherence/labels/2"


@dataclass(frozen=True)
class Labels:
    """Labels of the training part: as trained on, as they were, and the masks; int64 [N] and bool [N]."""

    labels: NDArray[np.int64]
    original: NDArray[np.int64]
    selected: NDArray[np.bool_]
    changed: NDArray[np.bool_]


def read_targets(path: Path, part: str) -> NDArray[np.int64]:
    """The targets int64 [N] of the part "train" or "test" of images.h5, without its images."""
    with open_hdf5(path, IMAGES_SCHEMA) as file:
        return np.asarray(file[f"{part}/targets"][:], dtype=np.int64)


def read_class_names(path: Path) -> tuple[str, ...]:
    """The names of the classes of images.h5; their positions are the targets."""
    with open_hdf5(path, IMAGES_SCHEMA) as file:
        return tuple(str(name) for name in file.attrs["class_names"])


def read_labels(path: Path) -> Labels:
    """The labels of labels.h5; UserError if the file is damaged or something else."""
    with open_hdf5(path, LABELS_SCHEMA) as file:
        return Labels(*(file[name][:] for name in ("labels", "original", "selected", "changed")))
