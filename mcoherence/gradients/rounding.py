"""What is left of a difference of almost equal numbers: rounding, which is told as 0.

A variance, or the product with a sum of nothing, would else be of either sign, and a ratio with it anything.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mcoherence.gradients.batch.group_sums import sum_dtype

# In roundings of the dtype that sums are kept and products computed in, float32 or wider: those of bfloat16 and float16
# are far larger than what they leave of a sum over many elements, so that 0 in its place would be untrue. Seen on
# networks in float32: up to 17 between Q and |S|^2 / n of 192 equal gradients, and up to 3 between |g|^2 and g . g.
# TF32 rounds more coarsely, and is not allowed for.
OF_SUMS = 100
OF_PRODUCTS = 8


def above_rounding(values: ArrayLike, sizes: ArrayLike, share: ArrayLike) -> NDArray[np.float64]:
    """Values, with 0 where they are no more than a share of the numbers that they are differences of; NaN stays.

    Args:
        values: any shape [...].
        sizes: of these numbers, a shape that broadcasts with it.
        share: that is rounding, likewise.

    Example:
        >>> above_rounding([1e-7, -1e-7, 1e-3, -1e-3], 1.0, 1e-6).tolist()
        [0.0, 0.0, 0.001, -0.001]
    """
    found = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(found) <= np.multiply(share, np.abs(sizes)), 0.0, found)


def share_of_sums(*dtypes: torch.dtype) -> float:
    """The share of Q, or of |S|^2, that is rounding where parameters are of these dtypes: that of the coarsest.

    Example:
        >>> share_of_sums(torch.float64) < share_of_sums(torch.float64, torch.float32) == share_of_sums(torch.bfloat16)
        True
    """
    return OF_SUMS * _coarsest(dtypes)


def share_of_products(*dtypes: torch.dtype) -> float:
    """The share of |g| |V| that is rounding of g . V, likewise."""
    return OF_PRODUCTS * _coarsest(dtypes)


def _coarsest(dtypes: Sequence[torch.dtype]) -> float:
    """The rounding of the coarsest dtype that is computed in."""
    return max((torch.finfo(sum_dtype(dtype)).eps for dtype in dtypes), default=0.0)
