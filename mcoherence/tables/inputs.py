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
from mcoherence.files.stamp import stamp_of
from mcoherence.study.result_names import COHERENCE_SCHEMA, EVALUATION_SCHEMA
from mcoherence.study.runs import Run
from mcoherence.tables.sums import Sums

# Labels are 18 bytes an example, and a tenth of that in their file: 3 MB of each at most, where a job has 2 GB.
MOST_KEPT, LARGEST_KEPT = 32, 2**18


def labels_of(results: str, run: Run) -> Labels:
    """The labels that a run trains on; not to be written to, for other runs may get the same."""
    found: Labels = _of_labels(read_labels, results, run)
    return found


def targets_of(results: str, run: Run) -> NDArray[np.int64]:
    """The classes of the test images, int64 [N]; from the labels, as those of a seed can have a split of their own."""
    found: NDArray[np.int64] = _of_labels(read_test_targets, results, run)
    return found


def scheme_of(results: str, run: Run) -> str:
    """How the labels that a run trains on are corrupted."""
    found: str = _of_labels(_read_scheme, results, run)
    return found


def classes_of(results: str, run: Run) -> int:
    """How many classes the data of a run have."""
    path = Path(run.file(results, "images"))
    return len(read_once(read_class_names, path, stamp_of(path)))


def _read_scheme(path: Path) -> str:
    with open_hdf5(path, LABELS_SCHEMA) as file:
        return str(read_mapping(file, "settings").get("scheme", "uniform"))


def _of_labels(read: Callable[[Path], Any], results: str, run: Run) -> Any:
    path = Path(run.file(results, "labels"))
    stamp = stamp_of(path)
    large = stamp is not None and stamp[1] > LARGEST_KEPT
    return read(path) if large else read_once(read, path, stamp)


@lru_cache(maxsize=MOST_KEPT)
def read_once(read: Callable[[Path], Any], path: Path, stamp: tuple[int, int, int] | None) -> Any:
    """What `read` gives for a file, kept for the runs to come while the file has this stamp."""
    return read(path)


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
