"""The coordinate-wise median against NumPy, on values of any magnitude."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mcoherence.optim.median import median_of_lists

FINITE = st.floats(width=32, allow_nan=False)  # all finite values, subnormal ones too, and infinities


def median_of(*values):
    """The median of scalars, in float32."""
    return median_of_lists([[torch.tensor([float(value)])] for value in values])[0].item()


@given(st.sampled_from([1, 3, 5, 7, 9, 11]).flatmap(lambda k: arrays(np.float32, (k, 6), elements=FINITE)))
def test_median_is_the_middle_of_the_sorted_values_to_the_bit(values):
    tensors = [torch.from_numpy(row.copy()) for row in values]
    (median,) = median_of_lists([[tensor] for tensor in tensors])
    assert np.array_equal(median.numpy(), np.partition(values, len(values) // 2, axis=0)[len(values) // 2])
    for tensor, row in zip(tensors[1:], values[1:], strict=True):  # the first may be overwritten
        assert np.array_equal(tensor.numpy(), row)


def test_median_keeps_digits_that_sum_minus_extremes_loses():
    assert median_of(1e8, -1e8, 3.0) == 3.0
    assert median_of(1e30, 1e-30, -1e30) == pytest.approx(1e-30, rel=1e-7)


def test_median_outvotes_infinities_and_does_not_hide_what_is_not_a_number():
    inf, nan = float("inf"), float("nan")
    assert median_of(inf, -inf, 2.0) == 2.0
    assert median_of(inf, 1.0, inf, -inf, 2.0) == 2.0
    assert np.isnan([median_of(nan, 1.0, 2.0), median_of(1.0, 2.0, nan), median_of(1.0, 2.0, 3.0, nan, 4.0)]).all()


def test_every_order_of_five_values_has_the_same_median():
    from itertools import permutations

    assert {median_of(*order) for order in permutations((5.0, -1.0, 100.0, 2.0, 3.0))} == {3.0}


def test_lists_of_several_tensors():
    lists = [[torch.tensor([1.0, 8.0]), torch.tensor([[5.0]])] for _ in range(3)]
    lists[1][0] += 1.0
    lists[2][1] -= 7.0
    median = median_of_lists(lists)
    assert [tensor.tolist() for tensor in median] == [[1.0, 8.0], [[5.0]]]
