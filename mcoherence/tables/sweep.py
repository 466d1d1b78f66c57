"""Sweeps over one setting of a network, such as the scale of its initial weights, its width or its depth: exploratory.

No claim of the papers is tested on them; on widths the statement E11 is reported.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mcoherence.coherence import m_coherence
from mcoherence.data.store import read_labels, read_targets
from mcoherence.files.hdf5 import open_hdf5
from mcoherence.study.result_names import COHERENCE_SCHEMA, CORRUPT, PRISTINE
from mcoherence.study.runs import Run, sweep_runs
from mcoherence.tables.runs import accuracy_of_run, of_run


def sweep_table(results: str, experiment: Mapping[str, Any], noise: Mapping[str, float]) -> pd.DataFrame:
    """The course of every run of the sweeps, a row per swept setting, run and checkpoint.

    Columns: setting, value (of that setting in the run's network), run, step, epoch, past_transient (whether peaks are
    looked for there), m_coherence (of the training sample, all parameters), train_accuracy (on the labels trained on),
    test_accuracy, diverged (the numbers are NaN there).

    Args:
        results: the study's folder.
        experiment: the config's `sweep`; `values`, swept setting -> network -> value; and `first_step`, past the
            transient.
        noise: label set -> fraction of random labels.
    """
    frames = []
    for run in sweep_runs(experiment):
        course = _course_of_run(results, run)
        course.insert(2, "past_transient", course["step"] >= experiment["first_step"])
        for setting, values in experiment["values"].items():
            if run.model in values:
                rows = of_run(run, noise, course)
                rows.insert(0, "setting", setting)
                rows.insert(1, "value", float(values[run.model]))
                frames.append(rows)
    return pd.concat(frames, ignore_index=True)


def _course_of_run(results: str, run: Run) -> pd.DataFrame:
    """The rows of one run, without the columns that name it."""
    labels = read_labels(Path(run.labels_path(results)))
    targets = read_targets(Path(f"{results}/data/{run.dataset}/images.h5"), "test")
    scores = accuracy_of_run(Path(f"{run.path(results)}/evaluation.h5"), labels, targets)
    accuracy = {part: scores.loc[scores["part"] == part, "accuracy"].to_numpy() for part in ("train", "test")}
    trained = [PRISTINE, CORRUPT]
    with open_hdf5(Path(f"{run.path(results)}/coherence.h5"), COHERENCE_SCHEMA) as file:
        squared = file["gram"][:].sum(axis=-1)[:, trained][:, :, trained].sum(axis=(1, 2))
        total = file["sum_sq_norm"][:].sum(axis=-1)[:, trained].sum(axis=1)
        columns = {name: file[name][:] for name in ("step", "epoch", "diverged")}
    measured = {
        "m_coherence": m_coherence(squared, total),
        "train_accuracy": accuracy["train"],
        "test_accuracy": accuracy["test"],
    }
    lost = columns["diverged"]
    return pd.DataFrame(
        {"step": columns["step"], "epoch": columns["epoch"]}
        | {name: np.where(lost, np.nan, values) for name, values in measured.items()}
        | {"diverged": lost}
    )


SWEEP_TABLES = {"sweep": sweep_table}
