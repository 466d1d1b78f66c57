"""Tidy tables as figures read them: from disk, the rows that a figure shows, and their names in a reading order."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from mcoherence.figures.panels import NO_RUNS
from mcoherence.study.result_names import FULL, REDRAWN
from mcoherence.tables.columns import WHOLE_NETWORK
from mcoherence.tables.rows import run_keys, whole_network

Tables = Mapping[str, pd.DataFrame]
"""What a figure is drawn from: tidy tables by their names, and "images", what `image_stores` returns."""

Network = tuple[str, str]
"""A data set and a model: what one row of panels shows. Runs on different data are never averaged."""


def image_stores(paths: Sequence[Path]) -> pd.DataFrame:
    """Where the images of each data set are: columns dataset, path. A store lies in the folder of its data set."""
    return pd.DataFrame([(path.parent.name, str(path)) for path in paths], columns=["dataset", "path"])


def full_set_runs(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs that trained on the full training set, not on the easy, hard or random subset."""
    return table[table["subset"] == FULL]


def rows_of_training_sample(coherence: pd.DataFrame) -> pd.DataFrame:
    """The rows of the whole network on the training sample, of runs on the full training set.

    Args:
        coherence: the tidy table coherence.
    """
    return whole_network(full_set_runs(coherence))


def rows_of_redrawn_labels(coherence: pd.DataFrame) -> pd.DataFrame:
    """The same rows of the same training sample with labels redrawn; none where no run was measured so.

    Args:
        coherence: the tidy table coherence.
    """
    rows = full_set_runs(coherence)
    return rows[(rows["group"] == REDRAWN) & (rows["layer"] == WHOLE_NETWORK)]


def networks(table: pd.DataFrame) -> list[Network]:
    """The pairs (data set, model) of a table, in its order."""
    pairs = table[["dataset", "model"]].drop_duplicates()
    return [(str(dataset), str(model)) for dataset, model in pairs.itertuples(index=False)]


def of_network(table: pd.DataFrame, network: Network) -> pd.DataFrame:
    """The rows of one data set and model."""
    dataset, model = network
    return table[(table["dataset"] == dataset) & (table["model"] == model)]


def label_sets(table: pd.DataFrame) -> list[str]:
    """The names of a table's label sets, from clean to random; equal noise in the table's order."""
    pairs = table[["labels", "noise"]].drop_duplicates().sort_values("noise", kind="stable")
    return list(dict.fromkeys(str(name) for name in pairs["labels"]))


def why_empty(rows: pd.DataFrame) -> str:
    """Why nothing is drawn of the rows of a table that a panel is for: no runs, none that did not diverge, no values.

    Args:
        rows: with the column diverged, and those whose value is missing too.
    """
    if rows.empty:
        return NO_RUNS
    return "diverged" if _diverged(rows).all() else "no values to draw"


def nothing_drawn(rows: pd.DataFrame, otherwise: str) -> str:
    """The sentence of a figure that has nothing to draw: that all runs diverged where it is so.

    Args:
        rows: of the table, those whose value is missing too.
        otherwise: what else it says.
    """
    lost = not rows.empty and _diverged(rows).all()
    return "All runs that this figure would show diverged before anything could be measured." if lost else otherwise


def runs_lost(rows: pd.DataFrame) -> int:
    """How many of the runs that a table has rows of diverged."""
    lost = rows[_diverged(rows)]
    return 0 if lost.empty else int(lost.groupby(run_keys(lost), observed=True).ngroups)


def _diverged(rows: pd.DataFrame) -> pd.Series:
    return rows["diverged"].astype(bool) if "diverged" in rows else pd.Series(False, index=rows.index)


def in_order(values: pd.Series, first: Sequence[str]) -> list[str]:
    """The distinct values of a column: those of `first` in its order, then the others in the column's."""
    present = [str(value) for value in values.unique()]
    return [value for value in first if value in present] + [value for value in present if value not in first]
