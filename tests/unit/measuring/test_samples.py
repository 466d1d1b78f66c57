"""Samples of examples to measure: fixed by their seed, without replacement, in groups."""

import numpy as np
import pytest

from mcoherence.measuring.difficulty import split_easy_hard
from mcoherence.measuring.samples import (
    draw_difficulty_sample,
    draw_heldout_sample,
    draw_other_sample,
    draw_training_sample,
)
from mcoherence.study.result_names import CORRUPT, DIFFICULTY_GROUPS, HELDOUT, PRISTINE


def test_samples_are_fixed_without_replacement_and_grouped_by_change():
    changed = np.arange(100) % 3 == 0
    candidates = np.arange(40, 90)
    sample, again = (draw_training_sample(candidates, changed, 20, seed=4) for _ in range(2))
    assert np.array_equal(sample.index, again.index)
    assert len(set(sample.index)) == 20
    assert set(sample.index) <= set(candidates)
    assert np.all(np.diff(sample.index) > 0)
    assert np.array_equal(sample.group == CORRUPT, changed[sample.index])
    assert set(sample.group) == {PRISTINE, CORRUPT}
    assert len(draw_training_sample(candidates, changed, 1000, seed=4).index) == 50
    assert set(draw_heldout_sample(30, 10, seed=0).group) == {HELDOUT}


def test_a_sample_of_another_size_shares_no_example_with_the_studys_own():
    changed, candidates = np.arange(100) % 3 == 0, np.arange(40, 90)
    own = draw_training_sample(candidates, changed, 20, seed=4)
    other, again = (draw_other_sample(candidates, changed, 30, own, seed=4) for _ in range(2))
    assert np.array_equal(other.index, again.index)
    assert sorted([*own.index, *other.index]) == candidates.tolist()
    assert np.array_equal(other.group == CORRUPT, changed[other.index])


@pytest.mark.parametrize(("fraction", "size", "expected"), [(0.5, 1000, 20), (0.5, 7, 7), (0.3, 1000, 12)])
def test_samples_of_easy_hard_and_random_examples_are_disjoint_and_of_one_size(fraction, size, expected):
    parts = split_easy_hard(np.arange(100) / 99, fraction, test_fraction=0.2, seed=0)
    sample, again = (draw_difficulty_sample(parts, size, heldout_size=3, seed=1) for _ in range(2))
    assert np.array_equal(sample.index, again.index)
    assert len(set(sample.index)) == len(sample.index)
    for position, group in enumerate(DIFFICULTY_GROUPS):
        members = sample.index[sample.group == position]
        assert set(members) <= set(parts[group])
        assert len(members) == (expected if group.endswith("train") else 3)
