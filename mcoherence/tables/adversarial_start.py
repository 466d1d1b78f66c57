"""Accuracy while training from fresh weights, and from weights that had fitted other labels."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mcoherence.study.runs import Run
from mcoherence.tables.columns import Column
from mcoherence.tables.inputs import evaluation_of, labels_of, split_of, targets_of
from mcoherence.tables.runs import rows_of_runs

COLUMNS = {
    "start": Column("", "fresh (initial weights of the seed) or adversarial (weights that had fitted other labels)")
}


def table(results: str, runs: Sequence[Run], noise: Mapping[str, float], *, optimizer: str) -> pd.DataFrame:
    """Accuracy while training from fresh weights and from weights that had fitted other labels.

    Columns: run, start (fresh or adversarial), step, epoch, part (train, test; easy and hard: the training examples
    that reference runs from fresh weights learn early or late), n, accuracy, diverged.

    Args:
        results: the study's folder.
        runs: with either start.
        noise: label set -> fraction of random labels.
        optimizer: the entry that starts from fresh weights.
    """
    return rows_of_runs(
        runs, noise, lambda run: _rows_of_run(results, run, "fresh" if run.optimizer == optimizer else "adversarial")
    )


def _rows_of_run(results: str, run: Run, start: str) -> pd.DataFrame:
    labels, targets = labels_of(results, run).labels, targets_of(results, run)
    with split_of(results, run) as file:
        easy, hard = (
            np.concatenate([file[f"{name}_{part}"][:] for part in ("train", "test")]) for name in ("easy", "hard")
        )
    with evaluation_of(results, run) as file:
        step, epoch, diverged = (file[name][:] for name in ("step", "epoch", "diverged"))
        train, test = file["train/prediction"][:] == labels, file["test/prediction"][:] == targets
    parts = {"train": train, "test": test, "easy": train[:, easy], "hard": train[:, hard]}
    frames = [
        pd.DataFrame(
            {
                "start": start,
                "step": step,
                "epoch": epoch,
                "part": part,
                "n": correct.shape[1],
                "accuracy": np.where(diverged, np.nan, correct.mean(axis=1)),
                "diverged": diverged,
            }
        )
        for part, correct in parts.items()
    ]
    return pd.concat(frames, ignore_index=True)
