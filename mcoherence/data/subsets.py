"""Which examples of the training part a run trains on: everything, or a subset that split.h5 names.

The names are read when Snakemake parses the workflow, so NumPy and h5py are imported where a file is read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mcoherence.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLIT_SCHEMA = "mcoherence/split/2"
SUBSETS = ("easy", "hard", "random")
# Second-split forgetting (arXiv 2210.15031): a run trains on one half, and another goes on from its last weights on the
# other half. By subset: the half that is trained on, and for a second stage the subset of the run that it goes on from.
TRAINED_HALF = {"half_a": "half_a", "half_b": "half_b", "half_b_after_a": "half_b", "half_a_after_b": "half_a"}
FIRST_STAGE = {"half_b_after_a": "half_a", "half_a_after_b": "half_b"}


def split_counts(size: int, fraction: float, test_fraction: float) -> tuple[int, int]:
    """Examples of the easy part of `size` examples, and of the hard one: (to train on, for testing).

    Args:
        size: examples that are split.
        fraction: share of them that is called easy, and the same share hard.
        test_fraction: share of each part that is kept for testing.
    """
    count = int(fraction * size)
    test = round(test_fraction * count)
    return count - test, test


def training_positions(split: Sequence[Path], subset: str, size: int) -> "NDArray[np.int64]":
    """Positions in the training part that a run of `subset` trains on, ascending int64.

    Args:
        split: the path of the split.h5 or halves.h5 that names the subset; nothing for a run on the full training part.
        subset: one of SUBSETS or TRAINED_HALF; not read without a split.
        size: number of examples in the training part.

    Raises:
        UserError: the file is damaged or something else, or names no such subset.
    """
    import numpy as np

    from mcoherence.files.hdf5 import open_hdf5

    if not split:
        return np.arange(size, dtype=np.int64)
    name = f"{TRAINED_HALF.get(subset, subset)}_train"
    with open_hdf5(split[0], SPLIT_SCHEMA) as file:
        if name not in file:
            raise UserError(
                f"{split[0]}: found no subset {subset!r}, expected one of {', '.join((*SUBSETS, *TRAINED_HALF))} that "
                "the file names"
            )
        return np.asarray(file[name][:], dtype=np.int64)
