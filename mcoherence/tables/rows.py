"""Rows of tidy tables that several readers ask for: of the whole network, at a run's end, with partly random labels."""

import pandas as pd

from mcoherence.tables.columns import RUN_COLUMNS, TRAIN_GROUP, WHOLE_NETWORK

TRAIN_SUBSET = "train_subset"  # what `subset` is called where a run is tested on other parts too


def run_keys(table: pd.DataFrame) -> list[str]:
    """Those columns of a table that name the run of a row, in their order."""
    subset = TRAIN_SUBSET if TRAIN_SUBSET in table else "subset"
    keys = (subset if column == "subset" else column for column in RUN_COLUMNS)
    return [column for column in keys if column in table]


def last_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's own last step: not all runs of a study are equally long."""
    rows: pd.DataFrame = table[table["step"] == table.groupby(run_keys(table), observed=True)["step"].transform("max")]
    return rows


def whole_network(coherence: pd.DataFrame) -> pd.DataFrame:
    """The rows of all layers together on the whole training sample."""
    return coherence[(coherence["group"] == TRAIN_GROUP) & (coherence["layer"] == WHOLE_NETWORK)]


def partly_random(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs whose labels are random in part, so that there are pristine and corrupt examples."""
    return table[(table["noise"] > 0) & (table["noise"] < 1)]
