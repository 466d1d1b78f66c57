"""Sweeps over one setting of a network, such as the scale of its initial weights, its width or its depth: exploratory.

No claim of the papers is tested on them; on widths the statement E11 is reported.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mcoherence.study.runs import Run
from mcoherence.tables.accuracy import accuracy_of_run
from mcoherence.tables.columns import TRAIN_GROUP, Column
from mcoherence.tables.curves import Reading, end_of_transient, smoothed
from mcoherence.tables.inputs import coherence_of
from mcoherence.tables.runs import named

COLUMNS = {
    "setting": Column("", "the swept setting of the networks: width, depth, or a key of their entries"),
    "value": Column("", "its value in the run's network, in the unit of that key"),
    "past_transient": Column("", "whether the checkpoint is past the initial transient, where peaks are looked for"),
    "smoothed_m_coherence": Column("examples", "geometric mean over an octave of steps past the transient"),
}


def table(
    results: str,
    runs: Sequence[Run],
    noise: Mapping[str, float],
    *,
    values: Mapping[str, Mapping[str, float]],
    reading: Mapping[str, Any],
) -> pd.DataFrame:
    """The course of every run of the sweeps, a row per swept setting, run and checkpoint.

    Columns: setting, value (of that setting in the run's network), run, step, epoch, past_transient (whether peaks are
    looked for there; False throughout where the transient has no end), m_coherence, alpha and pairwise_alignment (of
    the training sample, all parameters), smoothed_m_coherence (NaN before the end of the transient), train_accuracy (on
    the labels trained on), test_accuracy, batch_norm, diverged (the numbers are NaN there).

    Args:
        results: the study's folder.
        runs: those of the swept networks.
        noise: label set -> fraction of random labels.
        values: swept setting -> network -> value.
        reading: how curves are read, the fields of `mcoherence.tables.curves.Reading`.
    """
    frames = []
    for run in runs:
        course = _course_of_run(results, run)
        course = _with_reading(course, Reading(**reading))
        for setting, of_network in values.items():
            if run.model in of_network:
                rows = named(run, noise, course)
                rows.insert(0, "setting", setting)
                rows.insert(1, "value", float(of_network[run.model]))
                frames.append(rows)
    return pd.concat(frames, ignore_index=True)


def _with_reading(course: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """The rows of one run with those past the transient marked, and their smoothed m-coherence."""
    step, m_coherence = course["step"].to_numpy(), course["m_coherence"].to_numpy()
    later = step >= end_of_transient(step, m_coherence, reading)
    curve = np.full(len(course), np.nan)
    curve[later] = 10 ** smoothed(step[later], m_coherence[later], reading.peak_window)
    course.insert(2, "past_transient", later)
    course.insert(list(course.columns).index("train_accuracy"), "smoothed_m_coherence", curve)
    return course


def _course_of_run(results: str, run: Run) -> pd.DataFrame:
    """The rows of one run, without the columns that name it."""
    scores = accuracy_of_run(results, run)
    accuracy = {part: scores.loc[scores["part"] == part, "accuracy"].to_numpy() for part in ("train", "test")}
    sums = coherence_of(results, run).over_parameters()
    measured = {
        **sums.measures(TRAIN_GROUP),
        "train_accuracy": accuracy["train"],
        "test_accuracy": accuracy["test"],
    }
    return pd.DataFrame(
        {"step": sums.step, "epoch": sums.epoch}
        | {name: np.where(sums.diverged, np.nan, numbers) for name, numbers in measured.items()}
        | {"batch_norm": sums.batch_norm, "diverged": sums.diverged}
    )
