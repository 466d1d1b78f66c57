"""Gradients with the sum of the others', along a line where everything can be counted by hand."""

import numpy as np
import pytest

from mcoherence.gradients.own_left_out import cosines_with_others, products_with_others


def with_others(gradients, rounding=0.0):
    """Product and cosine of numbers, which are gradients along a line."""
    values = np.array(gradients)
    given = values * values.sum(), values**2, rounding
    return products_with_others(*given).tolist(), cosines_with_others(*given).tolist()


def test_a_gradient_that_vanishes_agrees_with_nothing():
    """The others of the first are 2, of the second -1, of the third 3."""
    assert with_others([0.0, 3.0, -1.0]) == ([0, -3, -3], [0, -1, -1])
    assert with_others([5.0, 0.0]) == ([0, 0], [0, 0])  # the others of the first are nothing


def test_a_single_gradient_has_no_others_whatever_rounding_made_of_it():
    assert products_with_others([4.0000001], [4.0]).tolist() == [0.0]
    assert products_with_others([[4.0000001, 1.0]], [[4.0, 1.0]]).tolist() == [[0.0, 0.0]]
    assert cosines_with_others([4.0000001], [4.0]).tolist() == [0.0]


def test_what_is_no_more_than_rounding_of_both_lengths_is_no_product():
    """Gradients 1, 1e-9 and 0; the product of the first with the others is 1e-9 of that with all."""
    assert with_others([1.0, 1e-9, 0.0], 1e-12)[0] == [pytest.approx(1e-9), pytest.approx(1e-9), 0]
    assert with_others([1.0, 1e-9, 0.0], 1e-6)[0] == [0, pytest.approx(1e-9), 0]  # 1e-9 * 1 is all that the second has


def test_a_product_is_never_longer_than_both_lengths_allow():
    """Lengths 2, 0 and 0, then 1 and 1: what the others can add is 0, then 1 to either."""
    assert products_with_others([4.1, 0.0, 0.0], [4.0, 0.0, 0.0]).tolist() == [0.0, 0.0, 0.0]
    assert products_with_others([2.1, 2.0], [1.0, 1.0]).tolist() == [1.0, 1.0]
    assert products_with_others([-0.1, 0.0], [1.0, 1.0]).tolist() == [-1.0, -1.0]


def test_a_sum_of_others_that_rounding_hides_has_no_direction():
    assert with_others([1.0, 1e-3], 1e-12)[1] == [pytest.approx(1), pytest.approx(1)]
    assert with_others([1.0, 1e-3], 1e-5)[1] == [0, pytest.approx(1)]  # the others of the first: 1e-6 of |S|^2


def test_a_number_that_is_none_stays_none():
    assert np.isnan(products_with_others([np.nan, 1.0], [1.0, 1.0], 1e-6)).tolist() == [True, False]
