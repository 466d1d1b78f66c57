"""How large an effect has to be for a study of so many seeds to find it."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

POWER = 0.8  # share of the studies that find the effect


def detectable(values: NDArray[np.float64], confidence: float) -> float:
    """The smallest mean for which Student's interval lies above 0 in POWER of all studies of n seeds of this spread.

    Exact for normal values whose standard deviation is the one found here: the t statistic of n values with the mean
    d s is noncentral t with n - 1 degrees of freedom and the noncentrality d sqrt(n) (Cohen, Statistical Power
    Analysis, 1988, chapter 2). The bootstrap, which is narrower, and the null are not in it.

    Args:
        values: a number per seed, [n], n of at least 2.
        confidence: level of the interval.
    """
    return _in_standard_deviations(len(values), confidence) * float(values.std(ddof=1))


@cache
def _in_standard_deviations(n: int, confidence: float) -> float:
    threshold = stats.t.ppf((1 + confidence) / 2, n - 1)

    def lacking(effect: float) -> float:
        return float(stats.nct.sf(threshold, n - 1, effect * np.sqrt(n))) - POWER

    return float(optimize.brentq(lacking, 0.0, 10 * threshold))
