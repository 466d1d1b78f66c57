"""How hard every training example is."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.data.store import Labels
from mcoherence.data.subsets import FIRST_STAGE, SPLIT_SCHEMA, TRAINED_HALF
from mcoherence.files.hdf5 import open_hdf5
from mcoherence.measuring.difficulty import DIFFICULTY_SCHEMA, forgotten_at, learned_at
from mcoherence.study.runs import Run, study_file
from mcoherence.tables.columns import Column
from mcoherence.tables.inputs import labels_of, training_answers
from mcoherence.tables.runs import by_network, named

COLUMNS = {
    "example": Column("", "position of the example in the training part"),
    "learned_at": Column("updates", "step from which the example stays right; inf where it never does"),
    "forgetting_events": Column("events", "right to wrong between neighbouring checkpoints; inf where never right"),
    "mean_loss": Column("nats", "cross-entropy of the example, mean over the checkpoints"),
    "rank": Column("share", "difficulty among the run's examples, 0 easiest to 1 hardest"),
    "score": Column("share", "mean of the ranks over the reference runs that did not diverge"),
    "first_split_learned_at": Column("updates", "step of the first half's training from which the example stays right"),
    "second_split_forgotten_at": Column("updates", "step of training on the other half from which it stays wrong"),
}


def table(results: str, runs: Sequence[Run], noise: Mapping[str, float], *, second_split: bool) -> pd.DataFrame:
    """How hard every training example is: one row per reference run and example.

    Columns: run, example (position in the training part), original and label (class before and after corruption),
    changed, learned_at (step; inf: not learned), forgetting_events (inf: never right), mean_loss (over checkpoints),
    rank (in this run: 0 easiest, 1 hardest), score (mean rank over the reference runs), first_split_learned_at and
    second_split_forgotten_at (steps of the first and second stage; inf: not learned, not forgotten; NaN where the study
    makes no second_split), diverged.

    Args:
        results: the study's folder.
        runs: the reference runs, those of a network beside each other.
        noise: label set -> fraction of random labels.
        second_split: whether there are runs on halves of the training part.
    """
    frames = []
    for dataset, model, references in by_network(runs):
        with difficulty_of(results, dataset, model) as file:
            per_run = {name: file[name][:] for name in ("learned_at", "forgetting_events", "mean_loss", "rank")}
            score, diverged = file["score"][:], file["diverged"][:]
        for position, run in enumerate(references):
            labels = labels_of(results, run)
            unknown = np.full(len(score), np.nan)
            stages = second_split_times(results, run, labels) if second_split else (unknown, unknown)
            columns = {
                "example": np.arange(len(score)),
                "original": labels.original,
                "label": labels.labels,
                "changed": labels.changed,
                **{name: values[position] for name, values in per_run.items()},
                "score": score,
                "first_split_learned_at": stages[0],
                "second_split_forgotten_at": stages[1],
                "diverged": diverged[position],
            }
            frames.append(named(run, noise, pd.DataFrame(columns)))
    return pd.concat(frames, ignore_index=True)


def difficulty_of(results: str, dataset: str, model: str) -> AbstractContextManager[h5py.File]:
    """The difficulty.h5 of a network, opened: how hard each training example was for each reference run."""
    return open_hdf5(Path(study_file(results, "difficulty", dataset=dataset, model=model)), DIFFICULTY_SCHEMA)


def second_split_times(results: str, reference: Run, labels: Labels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First-split learning time and second-split forgetting time of every example, float64 [N] (Maini et al.).

    An example of one half is learned in the run on this half and forgotten in the run that goes on with the other. NaN
    where one of the two diverged.

    Args:
        results: folder of the study.
        reference: the run on everything, with the seed and the labels of the runs on the halves.
        labels: those labels.
    """
    learned, forgotten = (np.full(len(labels.labels), np.nan) for _ in range(2))
    halves = Path(reference.file(results, "halves"))
    for second, first in FIRST_STAGE.items():
        with open_hdf5(halves, SPLIT_SCHEMA) as file:
            members = file[f"{TRAINED_HALF[first]}_train"][:]
        (step, correct, lost), (later_step, later_correct, later_lost) = (
            training_answers(results, replace(reference, subset=subset), labels) for subset in (first, second)
        )
        if not (lost[-1] or later_lost[-1]):
            learned[members] = learned_at(correct[:, members], step)
            forgotten[members] = forgotten_at(later_correct[:, members], later_step)
    return learned, forgotten
