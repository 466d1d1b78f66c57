"""Each rule of a null against a simulation of what it stands for, written here without the rule's code."""

import random
from itertools import product

import numpy as np
import pandas as pd
import pytest

from mcoherence.claims import nulls
from mcoherence.claims.nulls import around, equal_conditions, redrawn, rounding, shuffled_tags, unrelated_choices

NORMAL = 1.959964  # quantile 0.975


def test_equal_conditions_are_differences_of_different_seeds_of_one_condition():
    """All that two differences within {0, 1, 5} or within {10, 12} can be, each condition with the same chance."""
    few, many = pd.Series([0.0, 1.0, 5.0]), pd.Series([10.0, 12.0])
    differences = [(0.5 / 6, a - b) for a, b in product(few, few) if a != b]
    differences += [(0.5 / 2, a - b) for a, b in product(many, many) if a != b]
    means = {}
    for three in product(differences, repeat=3):  # as many as the larger condition has seeds
        mean = sum(value for _, value in three) / 3
        means[mean] = means.get(mean, 0) + np.prod([chance for chance, _ in three])
    values, chances = zip(*sorted(means.items()), strict=True)
    below = np.cumsum(chances)
    expected = (values[np.searchsorted(below, 0.1)], values[np.searchsorted(below, 0.9)])
    assert equal_conditions([few, many], 0.8).interval == pytest.approx(expected)


def test_the_null_of_equal_conditions_does_not_shift_seeds_in_a_circle():
    """The mean of differences over a cyclic shift is 0, that of independent pairs is spread by sqrt(2 / n) s."""
    values = pd.Series(np.random.default_rng(1).normal(size=12))
    low, high = equal_conditions([values, values], 0.95).interval
    expected = NORMAL * np.sqrt(2 / 12) * values.std()
    assert (-low, high) == pytest.approx((expected, expected), rel=0.05)


def test_any_statistic_of_any_number_of_seeds_can_be_held_against_equal_conditions():
    """Three seeds a, b, c with two numbers each, drawn by the standard library: easy of a, less hard of b, less c's."""
    easy, hard = [0.9, 0.7, 0.8, 0.95], [0.5, 0.6, 0.4, 0.7]
    source = random.Random(0)
    means = []
    for _ in range(10_000):
        total = 0.0
        for _ in range(4):
            a, b, c = source.sample(range(4), 3)
            total += easy[a] - hard[b] - (easy[c] - hard[c])
        means.append(total / 4)
    null = equal_conditions(
        [pd.DataFrame({"easy": easy, "hard": hard})],
        0.95,
        lambda a, b, c: a[:, 0] - b[:, 1] - (c[:, 0] - c[:, 1]),
        drawn=3,
    )
    assert null.interval == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.01)
    assert "3 different seeds" in null.rule


def test_equal_optimisers_are_rarely_above_their_null(monkeypatch):
    """300 studies of 5 seeds in which two optimisers are equal: about 2.5% of the means are above, or a few more."""
    monkeypatch.setattr(nulls, "NUM_DRAWS", 400)
    generator = np.random.default_rng(0)
    above = 0
    for _ in range(300):
        one, other = (pd.Series(generator.normal(size=5)) for _ in range(2))
        above += (one - other).mean() > equal_conditions([one, other], 0.95).interval[1]
    assert 0.01 <= above / 300 <= 0.06


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.nan]])
def test_one_seed_has_no_other_to_be_compared_with(values):
    one = pd.Series(values, dtype=np.float64)
    assert equal_conditions([one, one], 0.95).interval is None
    assert redrawn(one, 0.95, "null worlds") == nulls.Null(None, "not known: needs two seeds of null worlds")
    assert around(0.0, one, 0.95, "by symmetry").interval is None


def test_a_condition_of_missing_values_leaves_the_null_to_the_others():
    known = pd.Series([0.0, 1.0])
    assert equal_conditions([known, pd.Series([np.nan, np.nan])], 0.95).interval == (-1.0, 1.0)


@pytest.mark.parametrize("worlds", [1, 3])
def test_the_mean_of_as_many_new_seeds_is_in_the_null_of_redrawn_worlds(worlds):
    """Normal null values about 0.3, of runs that differ; the measured mean is one more world of the same runs."""
    generator = np.random.default_rng(0)
    inside = []
    for _ in range(600):
        runs = generator.normal(0.3, 0.5, size=(5, 1))
        values = runs + generator.normal(0, 1, size=(5, worlds + 1))
        low, high = redrawn(pd.DataFrame(values[:, 1:]), 0.95, "null worlds").interval
        inside.append(low <= values[:, 0].mean() <= high)
    assert 0.94 <= np.mean(inside) <= 0.999  # no fewer than it says; more, because its runs are not others


def test_the_null_of_redrawn_worlds_by_hand():
    # mean 2, standard deviation 1, t(0.975, 2) = 4.302653, sqrt(2 / 3)
    half = 4.302653 * np.sqrt(2 / 3)
    assert redrawn(pd.Series([1.0, 2.0, 3.0]), 0.95, "x").interval == pytest.approx((2 - half, 2 + half), rel=1e-6)


def test_a_known_centre_has_the_spread_of_the_seeds():
    half = 4.302653 / np.sqrt(3)
    null = around(0.5, pd.Series([11.0, 12.0, 13.0]), 0.95, "by symmetry")
    assert null.interval == pytest.approx((0.5 - half, 0.5 + half), rel=1e-6)
    assert null.rule == "0.5 (by symmetry), with the spread of the seeds"


def test_shuffled_tags_spread_as_shuffling_them_does():
    """Two seeds of 30 examples with many ties, tags shuffled 3,000 times, pairs counted one by one."""
    generator = np.random.default_rng(0)
    scores = [generator.integers(0, 4, 30).astype(float) for _ in range(2)]
    scores[0][0] = np.inf
    tagged = [np.arange(30) < count for count in (8, 14)]
    means = []
    for _ in range(3_000):
        seeds = []
        for score, tag in zip(scores, tagged, strict=True):
            shuffled = generator.permutation(tag)
            first, second = score[shuffled][:, None], score[~shuffled][None, :]
            seeds.append(((first > second) + 0.5 * (first == second)).mean() - 0.5)
        means.append(np.mean(seeds))
    low, high = shuffled_tags(scores, tagged, 0.95, "tags").interval
    assert low == -high
    assert high == pytest.approx(NORMAL * np.std(means), rel=0.04)


def test_tags_that_all_examples_have_cannot_be_shuffled():
    scores, tags = [np.arange(3.0), np.arange(3.0)], [np.array([True, False, False]), np.ones(3, dtype=bool)]
    assert shuffled_tags(scores, tags, 0.95, "tags").interval is None


def test_unrelated_choices_overlap_as_drawn_ones_do():
    generator = np.random.default_rng(0)
    overlaps = []
    for _ in range(3_000):
        one, other = (set(generator.choice(50, 15, replace=False)) for _ in range(2))
        overlaps.append(len(one & other) / 15 - 15 / 50)
    low, high = unrelated_choices([50, 80], [0.3, 0.3], 0.95).interval  # the wider of the two seeds
    assert low == -high
    assert high == pytest.approx(NORMAL * np.std(overlaps), rel=0.04)


def test_without_chance_there_is_only_rounding():
    assert rounding(1e-12).interval == (-1e-12, 1e-12)
