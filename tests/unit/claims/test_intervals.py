"""Intervals over few seeds, against enumerations worked by hand and scipy's own."""

import numpy as np
import pytest
from scipy import stats

from mcoherence.claims.intervals import percentile_bootstrap, students_t


def test_bootstrap_of_two_values_is_worked_by_hand():
    """Means of the four resamples of 1 and 5: 1, 3, 3, 5, with shares 1/4, 1/2, 1/4."""
    values = np.array([1.0, 5.0])
    assert percentile_bootstrap(values, 0.95) == (1, 5)
    assert percentile_bootstrap(values, 0.5) == (1, 5)  # a quarter lies at or beyond either end
    assert percentile_bootstrap(values, 0.49) == (3, 3)


def test_bootstrap_of_three_values_is_worked_by_hand():
    """Sums of the 27 resamples of 0, 1, 5, with how many orders give each.

    0: 1, 1: 3, 2: 3, 3: 1, 5: 3, 6: 6, 7: 3, 10: 3, 11: 3, 15: 1; cumulated 1, 4, 7, 8, 11, 17, 20, 23, 26, 27.
    """
    values = np.array([5.0, 0.0, 1.0])
    assert percentile_bootstrap(values, 0.95) == (0, 5)  # 1/27 is more than 2.5%
    assert percentile_bootstrap(values, 0.9) == pytest.approx((1 / 3, 11 / 3))  # 1.35 of 27 to either side
    assert percentile_bootstrap(values, 0.5) == pytest.approx((2 / 3, 10 / 3))  # 6.75 of 27


@pytest.mark.parametrize("n", [6, 8, 12])
def test_bootstrap_agrees_with_scipys(n):
    values = np.random.default_rng(n).exponential(size=n)
    interval = percentile_bootstrap(values, 0.95)
    theirs = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=200_000,
        batch=20_000,
        method="percentile",
        random_state=np.random.default_rng(1),
    ).confidence_interval
    # The standard error of a 2.5% quantile of 10,000 resamples is about 0.03 of the deviation of their means.
    assert interval == pytest.approx(tuple(theirs), abs=0.1 * values.std() / np.sqrt(n))


@pytest.mark.parametrize("n", [3, 5])
def test_bootstrap_turns_with_its_values(n):
    values = np.random.default_rng(0).exponential(size=n)
    low, high = percentile_bootstrap(values, 0.9)
    assert percentile_bootstrap(-values, 0.9) == pytest.approx((-high, -low))
    assert percentile_bootstrap(3 * values + 1, 0.9) == pytest.approx((3 * low + 1, 3 * high + 1))


def test_bootstrap_gives_the_same_interval_every_time():
    values = np.random.default_rng(0).normal(size=20)
    assert percentile_bootstrap(values, 0.95) == percentile_bootstrap(values, 0.95)


def test_students_t_is_scipys():
    values = np.array([1.0, 2.0, 4.0, 4.5])
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert students_t(values, 0.9) == pytest.approx((theirs.low, theirs.high))
