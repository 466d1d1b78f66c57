"""The result files that more than one table is made from, found by the run or the network that they belong to.

What many runs share, their data and labels, is read once for them all as long as the file is the same. Each opening
checks a whole file, which took most of the time of a table.

Index letters: K checkpoints, N examples.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcoherence.data.store import LABELS_SCHEMA, Labels, read_class_names, read_labels, read_test_targets
from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.files.hdf5 import open_hdf5, read_mapping
from mcoherence.study.result_names import COHERENCE_SCHEMA, EVALUATION_SCHEMA
from mcoherence.study.runs import Run
from mcoherence.tables.sums import Sums

MOST_KEPT = 32  # of labels, 32 bytes an example


def labels_of(results: str, run: Run) -> Labels:
    """The labels that a run trains on; not to be written to, for other runs may get the same."""
    found: Labels = read_once(read_labels, *_as_it_is(run.file(results, "labels")))
    return found


def targets_of(results: str, run: Run) -> NDArray[np.int64]:
    """The classes of the test images, int64 [N]; from the labels, as those of a seed can have a split of their own."""
    found: NDArray[np.int64] = read_once(read_test_targets, *_as_it_is(run.file(results, "labels")))
    return found


def scheme_of(results: str, run: Run) -> str:
    """How the labels that a run trains on are corrupted."""
    found: str = read_once(_read_scheme, *_as_it_is(run.file(results, "labels")))
    return found


def classes_of(results: str, run: Run) -> int:
    """How many classes the data of a run have."""
    return len(read_once(read_class_names, *_as_it_is(run.file(results, "images"))))


def _read_scheme(path: Path) -> str:
    with open_hdf5(path, LABELS_SCHEMA) as file:
        return str(read_mapping(file, "settings").get("scheme", "uniform"))


@lru_cache(maxsize=MOST_KEPT)
def read_once(read: Callable[[Path], Any], path: Path, stamp: tuple[int, ...]) -> Any:
    """What `read` gives for the file of this stamp, kept for the runs to come."""
    return read(path)


def _as_it_is(file: str) -> tuple[Path, tuple[int, ...]]:
    """A path, and what becomes another when the file does; nothing of one that is missing, which reading tells."""
    path = Path(file)
    if not path.exists():
        return path, ()
    found = path.stat()
    return path, (found.st_ino, found.st_size, found.st_mtime_ns)


def evaluation_of(results: str, run: Run) -> AbstractContextManager[h5py.File]:
    """The evaluation.h5 of a run, opened; UserError where it is missing or damaged."""
    return open_hdf5(Path(run.file(results, "evaluation")), EVALUATION_SCHEMA)


def evaluated(file: h5py.File, labels: Labels) -> Labels:
    """Of the labels of the training part those whose examples are evaluated: all, or those of the file's sample."""
    if "train/index" not in file:
        return labels
    index = file["train/index"][:]
    return Labels(labels.labels[index], labels.original[index], labels.selected[index], labels.changed[index])


def coherence_of(results: str, run: Run, name: str = "coherence") -> Sums:
    """The sums of coherence.h5 of a run, or of another result like it."""
    return Sums.read(Path(run.file(results, name)), COHERENCE_SCHEMA)


def split_of(results: str, run: Run) -> AbstractContextManager[h5py.File]:
    """The split.h5 of a run's data set and network, opened: which examples are easy, hard and random."""
    return open_hdf5(Path(run.file(results, "split")), SPLIT_SCHEMA)


def training_answers(
    results: str, run: Run, labels: Labels
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Steps int64 [K] of a run, whether each training example is right there, bool [K, N], and `diverged`, bool [K].

    The examples are those that are evaluated, see `evaluated`; K counts the evaluated checkpoints.
    """
    with evaluation_of(results, run) as file:
        correct = file["train/prediction"][:] == evaluated(file, labels).labels
        return file["step"][:], correct, file["diverged"][:]
