"""Rows of tidy tables: put under each other, and those that several readers ask for, such as a run's last ones."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.tables.columns import RUN_COLUMNS, TRAIN_GROUP, WHOLE_NETWORK

TRAIN_SUBSET = "train_subset"  # what `subset` is called where a run is tested on other parts too


def rows_of_blocks(blocks: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One table of blocks of rows with the same columns: arrays [rows], or one number or text for all rows of a block.

    Several times as fast as a table of each block, put together by pandas.

    Raises:
        ValueError: there are no blocks, they differ in their columns, or the arrays of a block in their lengths.

    >>> rows_of_blocks([{"step": np.array([1, 2]), "of": "a"}, {"step": np.array([1]), "of": "b"}])
       step of
    0     1  a
    1     2  a
    2     1  b
    """
    blocks = list(blocks)
    if len({frozenset(block) for block in blocks}) != 1:
        raise ValueError(f"blocks: found {len(blocks)} of different columns, expected one or more of the same")
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in blocks[0]}
    for block in blocks:
        lengths = {len(values) for values in block.values() if isinstance(values, np.ndarray)}
        if len(lengths) != 1:
            raise ValueError(f"blocks: found arrays of {sorted(lengths)} rows in one block, expected one length")
        for name, values in block.items():
            parts[name].append(values if isinstance(values, np.ndarray) else repeated([values], [*lengths]))
    return pd.DataFrame({name: np.concatenate(of_blocks) for name, of_blocks in parts.items()})


def repeated(values: Sequence[Any], times: Sequence[int]) -> NDArray[Any]:
    """Each number or text as many times as told, one after the other."""
    text = any(isinstance(value, str) for value in values)
    return np.repeat(np.array(values, dtype=object if text else None), times)


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
