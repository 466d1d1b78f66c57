"""The rows of many runs as one table, each row with the columns that name its run put first.

These are dataset, model, labels, noise (the fraction of labels that was selected for randomisation), optimizer, subset,
seed. In every table a run that diverged has `diverged` True from the first checkpoint after the divergence on, and NaN
for all that is measured there.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from itertools import groupby
from typing import Any

import pandas as pd

from mcoherence.study.runs import Run
from mcoherence.tables.columns import RUN_COLUMNS
from mcoherence.tables.rows import repeated


def rows_of_runs(
    runs: Iterable[Run], noise: Mapping[str, float], rows_of: Callable[[Run], pd.DataFrame]
) -> pd.DataFrame:
    """The rows that `rows_of` makes of each run, with the columns that name it, in the order of the runs.

    Args:
        runs: at least one.
        noise: label set -> fraction of labels selected for randomisation.
        rows_of: a run -> its rows, without the columns that name it.
    """
    runs = list(runs)
    rows = [rows_of(run) for run in runs]
    names, counts = [run_columns(run, noise) for run in runs], [len(of_run) for of_run in rows]
    columns = {column: repeated([one[column] for one in names], counts) for column in RUN_COLUMNS}
    return pd.concat([pd.DataFrame(columns), pd.concat(rows, ignore_index=True)], axis=1)


def named(run: Run, noise: Mapping[str, float], rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of one run with the columns that name it put first."""
    return pd.concat([pd.DataFrame(run_columns(run, noise), index=rows.index), rows], axis=1)


def run_columns(run: Run, noise: Mapping[str, float]) -> dict[str, Any]:
    """The columns that name a run, by name, in their order."""
    values = asdict(run) | {"noise": float(noise[run.labels])}
    return {column: values[column] for column in RUN_COLUMNS}


def by_network(runs: Iterable[Run]) -> list[tuple[str, str, list[Run]]]:
    """(data set, network, its runs) for each stretch of neighbouring runs of one network."""
    stretches = groupby(runs, key=lambda run: (run.dataset, run.model))
    return [(dataset, model, list(stretch)) for (dataset, model), stretch in stretches]
