"""Label corruption: exact counts, masks, and the law of every scheme, by hand or by a chi-square test."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from mcoherence.data import corrupt_labels
from mcoherence.data.random_streams import random_stream
from mcoherence.errors import UserError
from workflow_scripts.corrupt_labels import by_class

LABELS = np.arange(1000) % 10


@pytest.mark.parametrize("scheme", ["uniform", "permute", "symmetric", "pair"])
@pytest.mark.parametrize(("fraction", "count"), [(0.0, 0), (0.333, 333), (0.5, 500), (1.0, 1000)])
def test_exactly_the_asked_share_is_selected(scheme, fraction, count):
    labels, selected, changed = corrupt_labels(LABELS, 10, fraction, seed=3, scheme=scheme)
    assert selected.sum() == count
    assert np.array_equal(changed, labels != LABELS)
    assert not np.any(changed & ~selected)
    assert (labels.dtype, selected.dtype, changed.dtype) == (np.int64, np.bool_, np.bool_)


def test_uniform_redraw_keeps_about_one_in_ten_and_reaches_every_class():
    labels, selected, changed = corrupt_labels(np.zeros(20000, dtype=int), 10, 1.0, seed=0)
    counts = np.bincount(labels, minlength=10)
    # 20000 draws, p = 0.1: standard deviation 42; five of them either side
    assert np.all(np.abs(counts - 2000) < 5 * 42.4)
    assert changed.sum() == 20000 - counts[0]
    assert selected.all()


def test_permutation_among_the_selected_keeps_class_counts():
    labels, _, _ = corrupt_labels(LABELS, 10, 0.5, seed=1, scheme="permute")
    assert np.array_equal(np.bincount(labels), np.bincount(LABELS))


def test_the_seed_decides_the_corruption():
    first, again, other = (corrupt_labels(LABELS, 10, 0.5, seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_given_labels_are_not_changed():
    labels = LABELS.copy()
    corrupt_labels(labels, 10, 1.0, seed=0)
    assert np.array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fraction": 1.5}, "found fraction 1.5"),
        (
            {"scheme": "swap"},
            "found scheme 'swap', expected one of uniform, permute, symmetric, pair, class_conditional",
        ),
        ({"num_classes": 9}, r"label outside 0\.\.8"),
        ({"scheme": "class_conditional"}, "found no transition with scheme class_conditional"),
        ({"transition": {0: 1}}, "found a transition with scheme uniform"),
        ({"scheme": "class_conditional", "transition": {0: 10}}, r"found class 10, expected 0\.\.9"),
        ({"scheme": "class_conditional", "transition": np.eye(9)}, "found 9 rows of 9 numbers, expected 10 rows of 10"),
        ({"scheme": "class_conditional", "transition": np.eye(10)[:, :9]}, "found 10 rows of 9 numbers"),
        ({"scheme": "class_conditional", "transition": 0.9 * np.eye(10)}, "row 0 is .*expected probabilities"),
        ({"scheme": "class_conditional", "transition": 2 * np.eye(10) - 0.1}, "row 0 is .*expected probabilities"),
    ],
)
def test_wrong_corruption_settings_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        corrupt_labels(LABELS, **{"num_classes": 10, "fraction": 0.5, "seed": 0} | arguments)


@pytest.mark.parametrize("scheme", ["uniform", "permute", "symmetric", "pair"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:, None], r"found labels of shape \[\d+, 1\], expected \[N\], .*flatten a column, or take the argmax"),
        (np.eye(10, dtype=int)[LABELS[:50]], r"found labels of shape \[50, 10\], expected \[N\]"),
        (np.int64(3), r"found labels of shape \[\], expected \[N\]"),
        (np.array([0.0, 3.7]), "found labels of type float64, expected whole numbers"),
        (torch.tensor([0.0, 3.0]), "found labels of type float32, expected whole numbers"),
        (torch.tensor([0.0, 3.0]).bfloat16(), "found labels of type torch.bfloat16, expected whole numbers"),
        (np.ma.array([0, 3], mask=[False, True]), "found labels that are masked out"),
        (LABELS > 4, "found labels of type bool, expected whole numbers"),
        (["0", "1"], "found labels of type <U1, expected whole numbers"),
        ([0, None], "found labels of type object, expected whole numbers"),
        ([[0, 1], [2]], "found labels of unequal lengths"),
        ([0, -1], r"found label -1, a label outside 0\.\.9"),
        ([0, 10], r"found label 10, a label outside 0\.\.9"),
        (np.array([2**63 + 1], dtype=np.uint64), r"found label 9223372036854775809, a label outside 0\.\.9"),
    ],
    ids=["column", "one-hot", "scalar", "floats", "float tensor", "half", "masked", "mask", "text", "gaps", "ragged",
         "negative", "high", "beyond 64 bits"],
)  # fmt: skip
def test_labels_that_could_be_meant_in_two_ways_are_one_line(labels, message, scheme):
    with pytest.raises(UserError, match=message) as caught:
        corrupt_labels(labels, 10, 0.5, seed=0, scheme=scheme)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "kind", [list, tuple, torch.from_numpy, lambda labels: labels.astype(np.uint8), lambda labels: labels[::-1][::-1]]
)
def test_a_list_a_tensor_and_an_array_of_any_integers_are_taken_alike(kind):
    expected = corrupt_labels(LABELS, 10, 0.5, seed=0)
    for found, same in zip(corrupt_labels(kind(LABELS), 10, 0.5, seed=0), expected, strict=True):
        assert np.array_equal(found, same)
        assert found.dtype == same.dtype


@pytest.mark.parametrize("nothing", [[], np.zeros(0, dtype=np.int64), torch.zeros(0, dtype=torch.int64)])
def test_no_labels_stay_none(nothing):
    labels, selected, changed = corrupt_labels(nothing, 10, 0.5, seed=0)
    assert (labels.dtype, selected.dtype, changed.dtype) == (np.int64, np.bool_, np.bool_)
    assert labels.shape == selected.shape == changed.shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fraction": float("nan")}, r"found fraction nan, expected a number in \[0, 1\]"),
        ({"fraction": -0.1}, "found fraction -0.1"),
        ({"fraction": "half"}, "found fraction 'half'"),
        ({"fraction": True}, "found fraction True"),
        ({"seed": -1}, "found -1, expected a whole number from 0 to 9223372036854775807"),
        ({"seed": 2**63}, "found 9223372036854775808, expected a whole number"),
        ({"seed": 1.5}, "found 1.5, expected a whole number"),
        ({"num_classes": 0}, "num_classes: found 0, expected a whole number of at least 1"),
        ({"num_classes": 10.0}, "num_classes: found 10.0, expected a whole number"),
        ({"scheme": "class_conditional", "transition": {0: 1.5}}, "found class 1.5"),
        ({"scheme": "class_conditional", "transition": 0.5}, "found no matrix"),
        ({"scheme": "class_conditional", "transition": [[1, 0], [1]]}, "found rows that are no 10 numbers each"),
        ({"scheme": "class_conditional", "transition": np.full((10, 10), np.nan)}, "row 0 is .*expected probabilities"),
    ],
)
def test_numbers_that_are_none_are_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        corrupt_labels(LABELS, **{"num_classes": 10, "fraction": 0.5, "seed": 0} | arguments)
    assert "\n" not in str(caught.value)


def test_one_class_alone_cannot_change():
    with pytest.raises(UserError, match="found 1 class, expected at least 2 for scheme symmetric"):
        corrupt_labels(np.zeros(5, dtype=int), 1, 0.5, seed=0, scheme="symmetric")


def test_symmetric_noise_never_keeps_a_selected_label_and_favours_no_other():
    labels, selected, changed = corrupt_labels(np.full(45_000, 3), 10, 0.8, seed=0, scheme="symmetric")
    assert np.array_equal(selected, changed)
    counts = np.bincount(labels[selected], minlength=10)
    assert counts[3] == 0
    assert chisquare(np.delete(counts, 3)).pvalue > 1e-3


def test_pair_noise_moves_to_the_next_class_and_from_the_last_to_the_first():
    labels, selected, _ = corrupt_labels(LABELS, 10, 0.4, seed=2, scheme="pair")
    assert set(zip(LABELS[selected].tolist(), labels[selected].tolist(), strict=True)) == {
        (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8), (8, 9), (9, 0),
    }  # fmt: skip


def test_a_transition_matrix_is_followed_class_by_class():
    matrix = [[0.7, 0.2, 0.1], [0.0, 0.5, 0.5], [0.25, 0.0, 0.75]]
    original = np.repeat([0, 1, 2], 20_000)
    labels, _, _ = corrupt_labels(original, 3, 1.0, seed=4, scheme="class_conditional", transition=matrix)
    for label, row in enumerate(matrix):
        counts = np.bincount(labels[original == label], minlength=3)
        possible = np.array(row) > 0
        assert counts[~possible].sum() == 0
        assert chisquare(counts[possible], 20_000 * np.array(row)[possible]).pvalue > 1e-3


def test_a_mapping_moves_the_classes_it_names_and_no_other():
    labels, selected, changed = corrupt_labels(
        LABELS, 10, 0.5, seed=0, scheme="class_conditional", transition={9: 1, 3: 5, 5: 3}
    )
    named = np.isin(LABELS, [9, 3, 5])
    assert selected.sum() == 500
    assert np.array_equal(changed, selected & named)
    assert np.all(labels[changed & (LABELS == 9)] == 1)
    assert np.all(labels[changed & (LABELS == 3)] == 5)


def test_every_scheme_selects_the_same_examples():
    masks = [corrupt_labels(LABELS, 10, 0.3, seed=6, scheme=scheme)[1] for scheme in ("uniform", "permute", "pair")]
    assert np.array_equal(masks[0], masks[1])
    assert np.array_equal(masks[0], masks[2])


@pytest.mark.parametrize("other", [random_stream(0), np.random.Generator(np.random.PCG64(0)), random_stream(0, 0)])
def test_what_is_selected_is_independent_of_other_draws_from_the_same_seed(other):
    """A sample drawn first from another stream of seed 0 meets half of the selected labels, not all of them."""
    _, selected, _ = corrupt_labels(LABELS, 10, 0.5, seed=0)
    sample = other.choice(1000, size=500, replace=False)
    # hypergeometric: mean 250, standard deviation 7.9
    assert abs(selected[sample].sum() - 250) < 5 * 7.9


def test_a_transition_in_the_config_names_classes():
    names = ("cat", "dog", "emu")
    assert by_class({"emu": "cat"}, names) == {2: 0}
    assert by_class([[1.0]], names) == [[1.0]]
    assert by_class(None, names) is None
    with pytest.raises(
        UserError, match=r"found class 'gnu', expected names of this data set's classes \(cat, dog, emu\)"
    ):
        by_class({"emu": "gnu"}, names)
