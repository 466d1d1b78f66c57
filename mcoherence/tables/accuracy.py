"""Accuracy and mean loss along training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.study.runs import Run
from mcoherence.tables.inputs import evaluated, evaluation_of, labels_of, targets_of
from mcoherence.tables.rows import rows_of_blocks
from mcoherence.tables.runs import rows_of_runs


def table(results: str, runs: Sequence[Run], noise: Mapping[str, float]) -> pd.DataFrame:
    """Accuracy and mean loss per run, checkpoint and part (train, pristine, corrupt, test).

    Columns: run, step, epoch, part, n, accuracy, loss, diverged. Train, pristine and corrupt are scored on the labels
    that the run trains on; test labels are clean. A part without examples has NaN. Checkpoints are those that are
    evaluated, and so are training examples.
    """
    return rows_of_runs(runs, noise, lambda run: accuracy_of_run(results, run))


def accuracy_of_run(results: str, run: Run) -> pd.DataFrame:
    """The rows of one run, without the columns that name it."""
    labels, targets = labels_of(results, run), targets_of(results, run)
    with evaluation_of(results, run) as file:
        labels = evaluated(file, labels)
        step, epoch, diverged = file["step"][:], file["epoch"][:], file["diverged"][:]
        correct = {
            "train": file["train/prediction"][:] == labels.labels,
            "test": file["test/prediction"][:] == targets,
        }
        loss = {part: file[f"{part}/loss"][:].astype(np.float64) for part in correct}
    parts = {
        "train": ("train", np.ones(len(labels.labels), dtype=np.bool_)),
        "pristine": ("train", ~labels.changed),
        "corrupt": ("train", labels.changed),
        "test": ("test", np.ones(len(targets), dtype=np.bool_)),
    }
    return rows_of_blocks(
        {
            "step": step,
            "epoch": epoch,
            "part": name,
            "n": int(mask.sum()),
            "accuracy": np.where(diverged, np.nan, _mean_over(correct[source], mask)),
            "loss": _mean_over(loss[source], mask),
            "diverged": diverged,
        }
        for name, (source, mask) in parts.items()
    )


def _mean_over(values: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of values [K, N] over the examples in mask [N], NaN for an empty mask; [K]."""
    if not mask.any():
        return np.full(len(values), np.nan)
    return np.asarray(values[:, mask].mean(axis=1, dtype=np.float64))
