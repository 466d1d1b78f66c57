"""The rows of tables that the statistics of several claims are taken of, and logarithms of what is in them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mcoherence.claims.settings import ClaimSettings
from mcoherence.tables.curves import ends_of_transients
from mcoherence.tables.rows import run_keys

ROUNDING = 1e-9  # of a step that is the exponential of a logarithm
Windows = Mapping[tuple[str, str, str], float]  # (data set, network, optimiser) -> the last step that is early


def sgd_rows(table: pd.DataFrame, settings: ClaimSettings) -> pd.DataFrame:
    """The rows of runs that an entry of SGD trained."""
    rows: pd.DataFrame = table[table["optimizer"].isin(settings.entries("sgd"))]
    return rows


def of_sgd(table: pd.DataFrame, settings: ClaimSettings) -> list[tuple[str, pd.DataFrame]]:
    """(place, rows) for every data set and network trained with SGD."""
    rows = sgd_rows(table, settings)
    return [
        (f"{dataset}, {model}, {optimizer}", group)
        for (dataset, model, optimizer), group in rows.groupby(["dataset", "model", "optimizer"])
    ]


def past_transient(
    table: pd.DataFrame, settings: ClaimSettings, curves: pd.DataFrame | None = None, *, by: tuple[str, ...] = ()
) -> pd.DataFrame:
    """The rows of each run from the end of its initial transient on, see `mcoherence.tables.curves.end_of_transient`.

    A run whose transient has no end has no rows; where the study sets first_step, that stands for all ends.

    Args:
        table: with a step in each row.
        settings: of the study.
        curves: rows with the m-coherence that says where a run's transient ends, one curve a run; None: those of the
            table.
        by: columns besides the run's that tell the curves apart, such as the group of examples.
    """
    told_by = table if curves is None else curves
    keys = [*run_keys(told_by), *by]
    ends = ends_of_transients(told_by, keys, settings.reading)
    end = table[keys].merge(ends, on=keys, how="left")["end_of_transient"].to_numpy()
    return table[table["step"].to_numpy() >= end]


def early_windows(accuracy: pd.DataFrame, settings: ClaimSettings) -> dict[tuple[str, str, str], float]:
    """The last step that is early in training, by data set, network and optimiser, for the entries of SGD.

    Early is until learning is half-way, or at another early_share: the time at which the runs with the least label
    noise have come so far from their accuracy before training, that of chance, to the target accuracy, on the examples
    whose labels are right. Of the seeds' times it is the geometric mean; a seed that never gets there counts with its
    last step. Where all labels are random nothing is early.
    """
    windows = {}
    rows = sgd_rows(accuracy[accuracy["part"] == "pristine"], settings)
    for (dataset, model, optimizer), runs in rows[rows["noise"] < 1].groupby(["dataset", "model", "optimizer"]):
        least = runs[runs["noise"] == runs["noise"].min()]
        start = least.loc[least["step"] == least["step"].min(), "accuracy"].mean()
        half_way = start + settings.early_share * (settings.target_accuracy - start)
        times = [log10_time_to_reach(half_way, run["step"], run["accuracy"]) for _, run in least.groupby("seed")]
        windows[str(dataset), str(model), str(optimizer)] = float(10 ** np.mean(times))
    return windows


def early(table: pd.DataFrame, windows: Windows) -> pd.DataFrame:
    """The rows of runs of SGD early in training, from step 0 on, see `early_windows`."""
    last = [windows.get(key, -1.0) for key in zip(table["dataset"], table["model"], table["optimizer"], strict=True)]
    return table[table["step"].to_numpy() <= np.array(last, dtype=np.float64) * (1 + ROUNDING)]


def log10_time_to_reach(target: float, steps: pd.Series, accuracy: pd.Series) -> float:
    """log10 of the step at which the accuracy first reaches the target, linear between checkpoints on a log axis.

    Step 0 counts as 1. The last step where the target is never reached.
    """
    log_steps = np.log10(np.clip(steps.to_numpy(dtype=np.float64), 1, None))
    values = accuracy.to_numpy(dtype=np.float64)
    order = np.argsort(log_steps, kind="stable")
    log_steps, values = log_steps[order], values[order]
    reached = np.flatnonzero(values >= target)
    if len(reached) == 0:
        return float(log_steps[-1])
    after = int(reached[0])
    if after == 0:
        return float(log_steps[0])
    share = (target - values[after - 1]) / (values[after] - values[after - 1])
    return float(log_steps[after - 1] + share * (log_steps[after] - log_steps[after - 1]))


def log_spacing(steps: pd.Series) -> float:
    """The widest gap between neighbouring checkpoints, in log10 of the step; steps below 1 are left out."""
    distinct = np.unique(steps[steps >= 1].to_numpy(dtype=np.float64))
    return float(np.diff(np.log10(distinct)).max()) if len(distinct) > 1 else 0.0


def log10(values: pd.Series) -> pd.Series:
    """The values' logarithms to base 10, with their index."""
    return pd.Series(np.log10(values.to_numpy(dtype=np.float64)), index=values.index)
