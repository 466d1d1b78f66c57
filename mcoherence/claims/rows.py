"""The rows of tables that the statistics of several claims are taken of, and logarithms of what is in them."""

import numpy as np
import pandas as pd

from mcoherence.claims.settings import ClaimSettings
from mcoherence.tables import rows as table_rows


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


def sgd_curves(coherence: pd.DataFrame, settings: ClaimSettings) -> list[tuple[str, pd.DataFrame]]:
    """(place, rows) of the whole network's coherence on the training sample."""
    return of_sgd(table_rows.whole_network(coherence), settings)


def past_transient(table: pd.DataFrame, settings: ClaimSettings) -> pd.DataFrame:
    """The rows from the study's first step past the initial transient on."""
    return table[table_rows.is_past_transient(table["step"], settings.first_step)]


def early(table: pd.DataFrame, settings: ClaimSettings) -> pd.DataFrame:
    """The rows early in training: past the transient, in the first `early_epochs`."""
    return past_transient(table[table["epoch"] <= settings.early_epochs], settings)


def log_spacing(steps: pd.Series) -> float:
    """The widest gap between neighbouring checkpoints, in log10 of the step; steps below 1 are left out."""
    distinct = np.unique(steps[steps >= 1].to_numpy(dtype=np.float64))
    return float(np.diff(np.log10(distinct)).max()) if len(distinct) > 1 else 0.0


def log10(values: pd.Series) -> pd.Series:
    """The values' logarithms to base 10, with their index."""
    return pd.Series(np.log10(values.to_numpy(dtype=np.float64)), index=values.index)
