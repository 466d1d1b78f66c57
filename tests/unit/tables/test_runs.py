"""The columns that name a run, and runs that belong together."""

from dataclasses import replace

import pandas as pd

from mcoherence.study.runs import Run
from mcoherence.tables.columns import RUN_COLUMNS
from mcoherence.tables.runs import by_network, rows_of_runs, run_columns

RUN = Run("d", "net", "noisy", "sgd", "full", 3)


def test_a_run_is_named_by_its_entries_and_the_noise_of_its_labels():
    columns = run_columns(RUN, {"noisy": 1, "clean": 0})
    assert tuple(columns) == RUN_COLUMNS
    assert list(columns.values()) == ["d", "net", "noisy", 1.0, "sgd", "full", 3]


def test_rows_of_runs_keep_the_order_of_the_runs_and_of_each_runs_rows():
    runs = [replace(RUN, seed=seed) for seed in (5, 2)]
    rows = rows_of_runs(runs, {"noisy": 0.5}, lambda run: pd.DataFrame({"step": [1, 0], "value": run.seed * 10}))
    assert list(rows) == [*RUN_COLUMNS, "step", "value"]
    assert rows[["seed", "step", "value"]].to_numpy().tolist() == [[5, 1, 50], [5, 0, 50], [2, 1, 20], [2, 0, 20]]
    assert rows.index.tolist() == [0, 1, 2, 3]


def test_neighbouring_runs_of_a_network_belong_together():
    runs = [replace(RUN, model=model, seed=seed) for model in ("net", "other") for seed in (0, 1)]
    assert by_network(runs) == [("d", "net", runs[:2]), ("d", "other", runs[2:])]
