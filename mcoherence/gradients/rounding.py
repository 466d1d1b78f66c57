"""What is left of a difference of almost equal numbers: rounding, which is told as 0.

A variance, or the product with a sum of nothing, would else be of either sign, and a ratio with it anything.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

# In roundings of a dtype. Seen on networks in float32: up to 17 between Q and |S|^2 / n of 192 equal gradients, and up
# to 3 between |g|^2 and g . g. TF32 rounds more coarsely, and is not allowed for.
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
    """The share of Q, or of |S|^2, that is rounding where gradients are of these dtypes: that of the coarsest."""
    return OF_SUMS * max((torch.finfo(dtype).eps for dtype in dtypes), default=0.0)


def share_of_products(*dtypes: torch.dtype) -> float:
    """The share of |g| |V| that is rounding of g . V, likewise."""
    return OF_PRODUCTS * max((torch.finfo(dtype).eps for dtype in dtypes), default=0.0)
