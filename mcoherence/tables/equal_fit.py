"""What runs have made of corrupt and of test examples where they have fitted pristine ones equally well.

At a run's end all may be fitted, and at an equal step one optimiser may merely be ahead of another. So runs are
compared where the accuracy on pristine examples first reaches the same level.

Index letter: V levels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mcoherence.files.tables import read_table
from mcoherence.study.runs import Run, table_file
from mcoherence.tables.columns import RUN_COLUMNS, Column
from mcoherence.tables.crossings import between, first_crossing
from mcoherence.tables.rows import partly_random

COLUMNS = {
    "pristine_accuracy": Column("share", "level that the accuracy on pristine examples first reaches here"),
    "reached": Column("", "whether the run ever reaches it; what is read there is missing if not"),
    "corrupt_accuracy": Column("share", "corrupt examples predicted as their changed label, there"),
}
_READ = {"step": "step", "epoch": "epoch", "corrupt": "corrupt_accuracy", "test": "test_accuracy"}
_ORDER = [*RUN_COLUMNS, "pristine_accuracy", "reached", *_READ.values(), "diverged"]


def table(results: str, _runs: Sequence[Run], _noise: Mapping[str, float], *, levels: Sequence[float]) -> pd.DataFrame:
    """The rows of `at_levels`, from the study's table accuracy.

    Args:
        results: the study's folder.
        levels: of the accuracy on pristine examples.
    """
    return at_levels(read_table(Path(table_file(results, "accuracy"))), levels)


def at_levels(accuracy: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
    """A row per level and run whose labels are random in part: where it first fits so many of the pristine examples.

    Columns: run, pristine_accuracy (the level), reached, step, epoch, corrupt_accuracy, test_accuracy (linear between
    the checkpoints before and after), diverged (whether the run did, at any checkpoint; it has no numbers then).

    Args:
        accuracy: the tidy table accuracy.
        levels: of the accuracy on pristine examples, V of them.
    """
    frames = []
    for keys, rows in partly_random(accuracy).groupby(list(RUN_COLUMNS), sort=False, observed=True):
        curves = rows.set_index(["step", "epoch", "part"])["accuracy"].unstack("part").reset_index().sort_values("step")
        lost = bool(rows["diverged"].any())
        crossings = first_crossing(curves["pristine"], np.full(len(levels), np.nan) if lost else levels)
        read = {name: between(curves[column], crossings) for column, name in _READ.items()}
        named = dict(zip(RUN_COLUMNS, keys, strict=True))
        found = {**named, "pristine_accuracy": levels, "reached": ~np.isnan(crossings), **read, "diverged": lost}
        frames.append(pd.DataFrame(found)[_ORDER])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=_ORDER)
