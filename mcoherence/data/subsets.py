"""Which examples of the training part a run trains on: everything, or a subset that split.h5 names.

The names are read when Snakemake parses the workflow, so NumPy and h5py are imported where a file is read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLIT_SCHEMA = "mcoherence/split/2"
SUBSETS = ("easy", "hard", "random")
# Second-split forgetting (arXiv 2210.15031): a run trains on one half, and another goes on from its last weights on the
# other half. By subset: the half that is trained on, and for a second stage the subset of the run that it goes on from.
TRAINED_HALF = {"half_a": "half_a", "half_b": "half_b", "half_b_after_a": "half_b", "half_a_after_b": "half_a"}
FIRST_STAGE = {"half_b_after_a": "half_a", "half_a_after_b": "half_b"}


def training_positions(split: Sequence[Path], subset: str, size: int) -> "NDArray[np.int64]":
    """Positions in the training part that a run of `subset` trains on, ascending int64.

    Args:
        split: the path of the split.h5 or halves.h5 that names the subset; nothing for a run on the full training part.
        subset: one of SUBSETS or TRAINED_HALF; not read without a split.
        size: number of examples in the training part.
    """
    import numpy as np

    from mcoherence.files.hdf5 import open_hdf5

    if not split:
        return np.arange(size, dtype=np.int64)
    with open_hdf5(split[0], SPLIT_SCHEMA) as file:
        return np.asarray(file[f"{TRAINED_HALF.get(subset, subset)}_train"][:], dtype=np.int64)
