"""When the examples of a run are learned for good."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mcoherence.measuring.difficulty import learned_at
from mcoherence.study.runs import Run
from mcoherence.tables.columns import Column
from mcoherence.tables.inputs import evaluated, evaluation_of, labels_of, training_answers
from mcoherence.tables.runs import rows_of_runs

COLUMNS = {
    "learned": Column("share", "examples that are predicted right at the last checkpoint"),
    "median_step": Column("updates", "median of the step from which an example stays right; inf where half never do"),
}


def table(results: str, runs: Sequence[Run], noise: Mapping[str, float]) -> pd.DataFrame:
    """When the examples of a run are learned for good: one row per run and group (all, pristine, corrupt).

    Columns: run, group, n, learned (share that is right at the last checkpoint), median_step (the median of
    `difficulty.learned_at`, inf where at most half are learned, NaN without examples), diverged (NaN in both then).
    """
    return rows_of_runs(runs, noise, lambda run: _rows_of_run(results, run))


def _rows_of_run(results: str, run: Run) -> pd.DataFrame:
    labels = labels_of(results, run)
    with evaluation_of(results, run) as file:
        changed = evaluated(file, labels).changed
    step, correct, diverged = training_answers(results, run, labels)
    learned, lost = learned_at(correct, step), bool(diverged[-1])
    rows = []
    masks = {"all": np.ones_like(changed), "pristine": ~changed, "corrupt": changed}
    for group, mask in masks.items():
        chosen = np.sort(learned[mask])
        measured = len(chosen) > 0 and not lost
        rows.append(
            {
                "group": group,
                "n": len(chosen),
                "learned": float(np.isfinite(chosen).mean()) if measured else np.nan,
                # The upper median: an average with inf would be inf all the same.
                "median_step": float(chosen[len(chosen) // 2]) if measured else np.nan,
                "diverged": lost,
            }
        )
    return pd.DataFrame(rows)
