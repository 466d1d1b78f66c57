"""What runs have made of corrupt and of test examples where they have fitted pristine ones equally well.

At a run's end all may be fitted, and at an equal step one optimiser may merely be ahead of another. So runs are
compared where the accuracy on pristine examples first reaches the same level.

Index letters: K checkpoints of a run, V levels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mcoherence.files.tables import read_table
from mcoherence.study.runs import Run, table_file
from mcoherence.tables.columns import RUN_COLUMNS, Column
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


def first_crossing(curve: ArrayLike, levels: ArrayLike) -> NDArray[np.float64]:
    """Where along a curve each level is first reached, in checkpoints, float64 [V]; NaN where it never is.

    Between two checkpoints the curve is linear: 2.5 is half-way from the third checkpoint to the fourth. What it does
    after that, such as falling below the level again, counts for nothing.

    Args:
        curve: values at the checkpoints in order, [K].
        levels: [V].

        >>> first_crossing([0.0, 0.5, 0.4, 0.9], [0.0, 0.25, 0.5, 0.65, 1.0]).tolist()
        [0.0, 0.5, 1.0, 2.5, nan]
    """
    values, asked = np.asarray(curve, dtype=np.float64), np.asarray(levels, dtype=np.float64)
    places = np.full(len(asked), np.nan)
    for number, level in enumerate(asked):
        reached = np.flatnonzero(values >= level)
        if len(reached):
            after = int(reached[0])
            before = max(after - 1, 0)
            rise = values[after] - values[before]
            places[number] = before + ((level - values[before]) / rise if after and rise > 0 else 0.0)
    return places


def between(curve: ArrayLike, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """A curve [K] at places along its checkpoints [V], linear between them; NaN where the place is."""
    values = np.asarray(curve, dtype=np.float64)
    found = np.interp(np.nan_to_num(places), np.arange(len(values)), values)
    return np.asarray(np.where(np.isnan(places), np.nan, found))
