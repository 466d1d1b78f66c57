"""The controls of M3, SGD of M3's step length and SGD with a greatest norm, on gradients chosen by hand."""

import pytest
import torch

from mcoherence.optim import ClippedSGD, SGDWithM3Norm


def parameter(*values):
    return torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))


def closure_with(parameters, gradients):
    """A closure whose backward pass leaves these gradients, a list of numbers or None for each parameter."""

    def closure():
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = None if gradient is None else torch.tensor(gradient, dtype=p.dtype)
        return torch.tensor(0.0)

    return closure


def test_a_step_along_the_mean_is_as_long_as_the_median():
    p, q = parameter(0.0), parameter(0.0)
    # means 3 and 4, of norm 5; medians 0 and 2
    gradients = [[0.0], [0.0]], [[0.0], [10.0]], [[9.0], [2.0]]
    optimizer = SGDWithM3Norm([p, q], lr=1.0)
    optimizer.step([closure_with([p, q], group) for group in gradients])
    # medians are 0 and 2, so the step has length 2 along (3, 4) / 5
    assert [p.item(), q.item()] == pytest.approx([-2 * 3 / 5, -2 * 4 / 5])


def test_a_mean_of_zero_makes_no_step_and_a_missing_gradient_counts_as_zero():
    p, q = parameter(1.0), parameter(1.0)
    optimizer = SGDWithM3Norm([p, q], lr=1.0)
    optimizer.step([closure_with([p, q], [[value], None]) for value in (-3.0, 1.0, 2.0)])
    assert [p.item(), q.item()] == [1.0, 1.0]
    optimizer.step([closure_with([p, q], [None, value]) for value in (None, [3.0], [3.0])])
    assert [p.item(), q.item()] == pytest.approx([1.0, 1.0 - 3.0])  # mean 2, median 3


@pytest.mark.parametrize(("max_norm", "factor"), [(2.5, 0.5), (5.0, 1.0), (7.0, 1.0)])
def test_a_gradient_is_cut_to_the_norm_over_all_parameters_and_no_further(max_norm, factor):
    p, q, unused = parameter(0.0), parameter(0.0), parameter(1.0)
    optimizer = ClippedSGD([{"params": [p, unused]}, {"params": [q], "lr": 0.1}], lr=1.0, max_norm=max_norm)
    optimizer.step(closure_with([p, q, unused], [[3.0], [4.0], None]))
    assert [p.item(), q.item(), unused.item()] == pytest.approx([-3 * factor, -0.4 * factor, 1.0])


@pytest.mark.parametrize("max_norm", [0.0, -1.0, float("inf"), float("nan"), True])
def test_a_norm_that_is_no_positive_number_is_refused(max_norm):
    with pytest.raises(ValueError, match=r"ClippedSGD: found max_norm .*, expected a positive number that is finite"):
        ClippedSGD([parameter(1.0)], lr=0.1, max_norm=max_norm)
