"""Curves of m-coherence under SGD by place, and numbers of each run by label set and seed."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.claims.measured import Tables
from mcoherence.claims.rows import sgd_rows
from mcoherence.claims.settings import ClaimSettings
from mcoherence.study.result_names import REDRAWN
from mcoherence.tables.columns import WHOLE_NETWORK
from mcoherence.tables.curves import peak, smoothed
from mcoherence.tables.rows import run_keys, whole_network

KEYS = ["labels", "seed"]
Place = tuple[str, str, str]  # data set, network, optimiser entry


def curves_by_place(tables: Tables, settings: ClaimSettings) -> list[tuple[Place, pd.DataFrame]]:
    """(data set, network, entry of SGD) and rows of the whole network's coherence on the training sample.

    A column `redrawn` has m-coherence of the same examples at the same weights with their labels redrawn; NaN where the
    study has not measured that.
    """
    coherence = tables["coherence"]
    rows = sgd_rows(whole_network(coherence), settings)
    keys = [*run_keys(rows), "step"]
    of_redrawn = coherence.loc[
        (coherence["group"] == REDRAWN) & (coherence["layer"] == WHOLE_NETWORK), [*keys, "m_coherence"]
    ]
    rows = rows.merge(of_redrawn.rename(columns={"m_coherence": "redrawn"}), on=keys, how="left")
    return [
        ((str(dataset), str(model), str(optimizer)), group)
        for (dataset, model, optimizer), group in rows.groupby(["dataset", "model", "optimizer"])
    ]


def with_labels_redrawn(curves: pd.DataFrame) -> pd.DataFrame:
    """The same rows with the m-coherence of labels redrawn in the place of their own."""
    return curves.assign(m_coherence=curves["redrawn"])


def place_name(place: Place) -> str:
    """The place in words, as parts of claims are named."""
    return ", ".join(place)


def rows_at_place(table: pd.DataFrame, place: Place) -> pd.DataFrame:
    """The rows of a table of one data set, network and optimiser."""
    dataset, model, optimizer = place
    rows: pd.DataFrame = table[
        (table["dataset"] == dataset) & (table["model"] == model) & (table["optimizer"] == optimizer)
    ]
    return rows


def run_index(curves: pd.DataFrame) -> pd.MultiIndex:
    """(label set, seed) of each run of the curves, in order."""
    return pd.MultiIndex.from_frame(curves[KEYS].drop_duplicates().sort_values(KEYS))


def number_by_run(rows: pd.DataFrame, curves: pd.DataFrame, number: Callable[[pd.DataFrame], float]) -> pd.Series:
    """A number of each run's rows in the order of steps, by label set and seed; NaN where one of `curves` has none."""
    found = {key: number(run.sort_values("step")) for key, run in rows.groupby(KEYS)}
    return pd.Series({key: found.get(key, np.nan) for key in run_index(curves)}, dtype=np.float64).rename_axis(KEYS)


def smoothed_of_run(run: pd.DataFrame, settings: ClaimSettings) -> NDArray[np.float64]:
    """log10 of the smoothed m-coherence of a run's K rows in the order of steps, float64 [K]."""
    return smoothed(run["step"], run["m_coherence"], settings.peak_window)


def smoothed_by_step(rows: pd.DataFrame, settings: ClaimSettings) -> pd.DataFrame:
    """log10 of the smoothed m-coherence of the runs of one label set, a row for each step, a column for each seed."""
    return pd.DataFrame(
        {
            seed: pd.Series(smoothed_of_run(run, settings), index=run["step"])
            for seed, run in rows.sort_values("step").groupby("seed")
        }
    )


def peaks_by_run(later: pd.DataFrame, curves: pd.DataFrame, settings: ClaimSettings) -> pd.DataFrame:
    """log10 and step of the smoothed peak of each run past its transient, by label set and seed."""

    def of(what: str) -> pd.Series:
        return number_by_run(
            later,
            curves,
            lambda run: getattr(peak(run["step"], run["m_coherence"], window=settings.peak_window), what),
        )

    return pd.DataFrame({"log10": of("log10"), "step": of("step")})
