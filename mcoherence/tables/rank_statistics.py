"""How two groups of numbers lie to one another, by their ranks."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def probability_of_more(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Probability that a random value of `first` exceeds one of `second`, ties counting half; NaN where one is empty.

    The Mann-Whitney statistic over the number of pairs; inf is the largest value and ties with itself.
    """
    if not len(first) or not len(second):
        return float("nan")
    ranks = rankdata(np.concatenate([first, second]))[: len(first)]
    return float((ranks.sum() - len(first) * (len(first) + 1) / 2) / (len(first) * len(second)))
