"""The rank of a percentile among the examples of a mini-batch."""

from math import ceil


def nearest_rank(c: float, n: int) -> int:
    """How many of n values lie beyond the c-th percentile: c / 100 * (n - 1), rounded, halves down.

    Source: the nearest-rank percentiles of google-research/coherent_gradients; for halves see `winsorized`.

        >>> nearest_rank(2, 100), nearest_rank(50, 4)
        (2, 1)
    """
    return ceil(c * (n - 1) / 100 - 0.5)
