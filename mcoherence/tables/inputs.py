"""The result files that more than one table is made from, found by the run or the network that they belong to.

Index letters: K checkpoints, N examples.
"""

from contextlib import AbstractContextManager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from mcoherence.data.store import Labels, read_labels, read_test_targets
from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.files.hdf5 import open_hdf5
from mcoherence.study.result_names import COHERENCE_SCHEMA, EVALUATION_SCHEMA
from mcoherence.study.runs import Run
from mcoherence.tables.sums import Sums


def labels_of(results: str, run: Run) -> Labels:
    """The labels that a run trains on."""
    return read_labels(Path(run.file(results, "labels")))


def targets_of(results: str, run: Run) -> NDArray[np.int64]:
    """The classes of the test images, int64 [N]; from the labels, as those of a seed can have a split of their own."""
    return read_test_targets(Path(run.file(results, "labels")))


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
