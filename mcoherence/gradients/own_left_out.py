"""The gradient of an example with the sum of those of the others: its own is taken out of the sum that it is part of.

With its own gradient in it every example agrees with the sum, and those with the longest gradients most. Its product
with the sum S of all is all that is needed: g_i . (S - g_i) is g_i . S - |g_i|^2, |S - g_i|^2 is |S|^2 - 2 g_i . S +
|g_i|^2, and |S|^2 is the sum of all g_i . S.

Index letter: m examples that make up the sum.
"""

import numpy as np
from numpy.typing import ArrayLike

from mcoherence.coherence import Float64Array
from mcoherence.gradients.rounding import above_rounding


def products_with_others(product: ArrayLike, sq_norm: ArrayLike, rounding: ArrayLike = 0.0) -> Float64Array:
    """g_i . (S - g_i) of each example, float64 [m, ...]; 0 of one whose others are none or have gradients of 0.

    Never longer than |g_i| times the sum of the others' |g_j|, whatever rounding made of it.

    Args:
        product: g_i . S of all m examples of the sum, [m, ...], such as by layer.
        sq_norm: |g_i|^2, likewise.
        rounding: the share of |g_i| |S| that the product is known to (`rounding.share_of_products`); what is left of it
            without the own gradient counts as 0 where it is no more.

    Example:
        Gradients 1, 2 and -4 along a line, whose sum is -1.

        >>> products_with_others([-1.0, -2.0, 4.0], [1.0, 4.0, 16.0]).tolist()
        [-2.0, -6.0, -12.0]
    """
    whole, own = np.asarray(product, dtype=np.float64), np.asarray(sq_norm, dtype=np.float64)
    if len(whole) < 2:
        return np.zeros_like(whole)
    sizes = np.sqrt(own * np.maximum(whole.sum(axis=0), 0.0))
    left, lengths = above_rounding(whole - own, sizes, rounding), np.sqrt(own)
    most = lengths * np.maximum(lengths.sum(axis=0) - lengths, 0.0)
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(left) > most, np.copysign(most, left), left)


def cosines_with_others(product: ArrayLike, sq_norm: ArrayLike, rounding: float = 0.0) -> Float64Array:
    """The cosine of g_i and S - g_i of each example, float64 [m]; 0 where one of both vanishes and points nowhere.

    Args:
        product: g_i . S of all m examples of the sum, [m].
        sq_norm: |g_i|^2, likewise.
        rounding: the share of |S|^2 that |S - g_i|^2 is known to (`rounding.share_of_sums`); it counts as 0 where it is
            no more.

    Example:
        Gradients 1, 2 and -4 along a line, whose sum is -1.

        >>> cosines_with_others([-1.0, -2.0, 4.0], [1.0, 4.0, 16.0]).tolist()
        [-1.0, -1.0, -1.0]
    """
    whole, own = np.asarray(product, dtype=np.float64), np.asarray(sq_norm, dtype=np.float64)
    if len(whole) < 2:
        return np.zeros_like(whole)
    of_others = above_rounding(whole.sum() - 2 * whole + own, whole.sum(), rounding)
    there = (own > 0) & (of_others > 0)
    lengths = np.sqrt(np.where(there, own * of_others, 1.0))
    return np.where(there, np.clip((whole - own) / lengths, -1.0, 1.0), 0.0)
