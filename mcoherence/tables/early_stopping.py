"""The best checkpoint of each run against its last one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mcoherence.study.runs import Run
from mcoherence.tables.accuracy import accuracy_of_run
from mcoherence.tables.columns import TRAIN_GROUP, Column
from mcoherence.tables.inputs import coherence_of
from mcoherence.tables.runs import rows_of_runs

COLUMNS = {
    "best_step": Column("updates", "step of the checkpoint with the best test accuracy, the first of equals"),
    "best_epoch": Column("passes", "epoch of that checkpoint"),
    "best_test_accuracy": Column("share", "its test accuracy; chosen on the test images themselves, so optimistic"),
    "best_m_coherence": Column("examples", "m-coherence of the training sample at that checkpoint"),
    "best_alpha": Column("share", "alpha of the training sample at that checkpoint"),
    "best_pairwise_alignment": Column("share", "mean pairwise alignment of the training sample at that checkpoint"),
    "last_step": Column("updates", "step of the last checkpoint"),
    "last_epoch": Column("passes", "epoch of the last checkpoint"),
    "last_test_accuracy": Column("share", "test accuracy at the last checkpoint"),
    "last_m_coherence": Column("examples", "m-coherence of the training sample at the last checkpoint"),
    "last_alpha": Column("share", "alpha of the training sample at the last checkpoint"),
    "last_pairwise_alignment": Column("share", "mean pairwise alignment of the training sample at the last checkpoint"),
}


def table(results: str, runs: Sequence[Run], noise: Mapping[str, float]) -> pd.DataFrame:
    """The best checkpoint of each run against its last one; a row per run.

    The best is chosen by the accuracy on the test part itself, the first of equals, so that its accuracy is optimistic:
    what stopping early can give at most, not what stopping on held-out data would give.

    Columns: run; best_step, best_epoch, best_test_accuracy, then best_m_coherence, best_alpha, best_pairwise_alignment
    (of the training sample, all parameters); the same with last_; batch_norm, diverged (NaN in all but the steps of a
    run that diverged at any checkpoint).
    """
    return rows_of_runs(runs, noise, lambda run: _row_of_run(results, run))


def _row_of_run(results: str, run: Run) -> pd.DataFrame:
    rows = accuracy_of_run(results, run)
    accuracy = rows.loc[rows["part"] == "test", "accuracy"].to_numpy()
    sums = coherence_of(results, run).over_parameters()
    there = np.isin(sums.step, rows["step"])  # the checkpoints that are evaluated too
    step, epoch = sums.step[there], sums.epoch[there]
    measures = {name: values[there] for name, values in sums.measures(TRAIN_GROUP).items()}
    lost = bool(sums.diverged.any())
    positions = {"best": -1 if lost else int(np.argmax(accuracy)), "last": -1}
    columns: dict[str, Any] = {}
    for which, position in positions.items():
        columns |= {
            f"{which}_step": step[position],
            f"{which}_epoch": epoch[position],
            f"{which}_test_accuracy": np.nan if lost else accuracy[position],
            **{f"{which}_{name}": np.nan if lost else values[position] for name, values in measures.items()},
        }
    return pd.DataFrame([columns | {"batch_norm": sums.batch_norm, "diverged": lost}])
