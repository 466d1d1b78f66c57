"""Tidy tables on disk: the same rows as CSV, for people, and as Parquet, which keeps every type and digit."""

from pathlib import Path

import pandas as pd

from mcoherence.storage import atomic_path


def write_table(table: pd.DataFrame, csv: Path, parquet: Path) -> None:
    """Write both forms of a table, each atomically."""
    with atomic_path(csv) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    with atomic_path(parquet) as temporary:
        table.to_parquet(temporary, index=False)
