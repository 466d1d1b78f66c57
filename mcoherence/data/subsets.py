"""Which examples of the training part a run trains on: everything, or a subset that split.h5 names."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcoherence.storage import open_hdf5

SPLIT_SCHEMA = "mcoherence/split/1"
SUBSETS = ("easy", "hard", "random")


def training_positions(split: Sequence[Path], subset: str, size: int) -> NDArray[np.int64]:
    """Positions in the training part that a run of `subset` trains on, ascending int64.

    Args:
        split: the path of split.h5, or nothing for a run on the full training part.
        subset: "easy", "hard" or "random"; not read without a split.
        size: number of examples in the training part.
    """
    if not split:
        return np.arange(size, dtype=np.int64)
    with open_hdf5(split[0], SPLIT_SCHEMA) as file:
        return np.asarray(file[f"{subset}_train"][:], dtype=np.int64)
