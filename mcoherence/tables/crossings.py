"""Where along a run's checkpoints a curve first reaches a level, and what another curve has there.

Index letters: K checkpoints of a run, V levels.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
