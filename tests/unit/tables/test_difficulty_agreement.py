"""How far reference runs agree on what is hard, worked by hand."""

import numpy as np
import pytest

from mcoherence.measuring.difficulty import ranks_in_runs
from mcoherence.tables.difficulty_agreement import (
    agreements_of,
    easiest,
    overlap,
    rank_correlation,
    right_at_one_checkpoint,
    table,
)


def test_agreement_leaves_diverged_runs_out(references, described):
    found = table(*references, fraction=0.5)
    described("difficulty_agreement", found)
    assert found["other"].tolist() == ["one checkpoint"]  # no other run to compare with
    # right answers at the three checkpoints: 2, 2, 3 of 4 -> the first with half: 0 and 1; the easiest two: 0 and 2
    assert found[["easy_overlap", "chance", "step"]].to_numpy().tolist() == [[0.5, 0.5, 0]]


def test_agreement_of_three_runs_worked_by_hand():
    learned = np.array([[1.0, 2, 3, 4], [1, 2, 4, 3], [4, 3, 2, 1]])
    rank = ranks_in_runs(learned, np.zeros((3, 4)))
    rows = agreements_of(0, [5, 6, 7], rank, learned, np.zeros((3, 4), dtype=int), fraction=0.5)
    assert list(rows) == ["6", "7", "other seeds", "all seeds"]
    assert rows["6"]["spearman"] == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert rows["7"]["spearman"] == pytest.approx(-1)
    assert [rows[name]["easy_overlap"] for name in ("6", "7")] == [1, 0]
    assert rows["6"]["chance"] == 0.5
    # of the others: mean ranks 3, 3, 4, 2 (thirds) -> easiest 3 and, by position, 0
    assert rows["other seeds"]["easy_overlap"] == 0.5
    assert rows["all seeds"]["spearman"] == pytest.approx(0.8)  # of all: mean ranks 3, 4, 6, 5 (thirds)
    assert rows["6"]["spearman_learned_at"] == pytest.approx(0.8)
    assert np.isnan(rows["other seeds"]["spearman_learned_at"])


def test_agreement_compares_examples_with_the_same_label_only():
    rank = np.array([[0, 1, 2, 3, 4], [4, 0, 1, 2, 3]]) / 4
    labels = np.array([[7, 7, 7, 7, 7], [8, 7, 7, 7, 7]])
    row = agreements_of(0, [0, 1], rank, rank, labels, fraction=0.5)["1"]
    assert (row["n"], row["spearman"], row["easy_overlap"], row["chance"]) == (4, pytest.approx(1), 1, 0.5)


def test_the_easy_examples_of_one_checkpoint_are_those_that_are_right_there():
    correct = np.array([[0, 0, 0, 0, 1], [1, 0, 1, 0, 0], [1, 1, 1, 1, 0]], dtype=bool)
    rank = np.array([0, 1, 2, 3, 4]) / 4
    row = right_at_one_checkpoint(rank, correct, np.array([0, 4, 9]), fraction=0.5)
    # shares 0.2, 0.4, 0.8: the second; right there are 0 and 2, the easiest two 0 and 1
    assert (row["step"], row["easy_overlap"], row["chance"]) == (4, 0.5, 0.4)


def test_the_easiest_of_equal_examples_are_the_first():
    assert easiest(np.array([2.0, 1, 1, 1]), 2).tolist() == [False, True, True, False]
    assert np.isnan(overlap(np.zeros(2, dtype=bool), np.ones(2, dtype=bool)))


def test_rank_correlation_is_pearsons_of_the_mean_ranks():
    first, second = np.array([1.0, 1, 4, np.inf, np.inf]), np.array([2.0, 1, 1, 8, 4])
    expected = np.corrcoef([1.5, 1.5, 3, 4.5, 4.5], [3, 1.5, 1.5, 5, 4])[0, 1]
    assert rank_correlation(first, second) == pytest.approx(expected)
    assert np.isnan(rank_correlation(first, np.ones(5)))
