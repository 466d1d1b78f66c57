"""Gradient agreement filtering on gradients chosen by hand, and against its rule written out in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mcoherence.optim import GradientAgreement


def parameter(*values):
    return torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))


def closure_with(parameters, gradients, loss=0.0):
    """A closure whose backward pass leaves these gradients, a list of numbers or None for each parameter."""

    def closure():
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = None if gradient is None else torch.tensor(gradient, dtype=p.dtype)
        return torch.tensor(loss)

    return closure


def stepped(*gradients, start=0.0, optimizer=None, **settings):
    """The parameter after one step at rate 1 on one gradient per group, and how many joined the first one."""
    p = parameter(*[start] * len(gradients[0]))
    optimizer = GradientAgreement([p], lr=1.0, groups=len(gradients), **settings)
    optimizer.step([closure_with([p], [gradient]) for gradient in gradients])
    return p.tolist(), optimizer.agreed


def rule(gradients, threshold):
    """(direction or None, how many joined), from the definition."""
    mean, agreed = gradients[0], 0
    for gradient in gradients[1:]:
        size = np.sqrt((mean @ mean) * (gradient @ gradient))
        distance = 1 - (mean @ gradient) / size if size > 0 else 1.0
        if distance <= threshold:
            mean, agreed = (mean + gradient) / 2, agreed + 1
    return (mean if agreed else None), agreed


def test_two_groups_that_agree_give_their_mean():
    # cos = 3 / (1 * 5), distance 0.4
    assert stepped([1.0, 0.0], [3.0, 4.0], threshold=0.5) == ([-2.0, -2.0], 1)


def test_two_groups_that_do_not_agree_change_nothing():
    assert stepped([1.0, 0.0], [3.0, 4.0], threshold=0.3) == ([0.0, 0.0], 0)
    assert stepped([1.0, 0.0], [-1.0, 0.1]) == ([0.0, 0.0], 0)


def test_identical_groups_are_sgd():
    assert stepped([2.0, -1.0], [2.0, -1.0], [2.0, -1.0], threshold=1e-9) == ([-2.0, 1.0], 2)


def test_the_groups_are_visited_in_order_and_the_last_of_several_has_half_of_the_weight():
    # (1, 0) and (1, 1): 1 - 0.707; their mean (1, 0.5) and (0, 4): 1 - 2 / (1.118 * 4) = 0.553; so (0.5, 2.25)
    assert stepped([1.0, 0.0], [1.0, 1.0], [0.0, 4.0], threshold=0.6) == ([-0.5, -2.25], 2)
    # the other way round (0, 4) and (1, 1) are 0.293 apart, their mean (0.5, 2.5) and (1, 0) 1 - 0.196
    assert stepped([0.0, 4.0], [1.0, 1.0], [1.0, 0.0], threshold=0.6) == ([-0.5, -2.5], 1)


def test_one_group_that_points_elsewhere_is_left_out():
    assert stepped([2.0, 0.0], [-9.0, 1.0], [4.0, 0.0]) == ([-3.0, 0.0], 1)


def test_a_first_group_that_points_elsewhere_leaves_no_update_however_the_others_agree():
    assert stepped([-9.0, 1.0], [2.0, 0.0], [4.0, 0.0]) == ([0.0, 0.0], 0)


def test_the_threshold_itself_counts_as_agreement():
    assert stepped([1.0, 0.0], [0.0, 2.0], threshold=1) == ([-0.5, -1.0], 1)  # orthogonal: distance 1
    assert stepped([1.0, 0.0], [-3.0, 0.0], threshold=2) == ([1.0, 0.0], 1)  # opposed: distance 2


def test_zero_gradients_are_at_distance_one():
    assert stepped([0.0, 0.0], [1.0, 2.0], threshold=0.99) == ([0.0, 0.0], 0)
    assert stepped([0.0, 0.0], [0.0, 0.0], threshold=0.99) == ([0.0, 0.0], 0)
    assert stepped([0.0, 0.0], [1.0, 2.0], threshold=1) == ([-0.5, -1.0], 1)


def test_an_update_without_agreement_leaves_momentum_and_weight_decay_out_too():
    p = parameter(10.0)
    optimizer = GradientAgreement([p], lr=1.0, momentum=0.5, weight_decay=0.1)
    agreeing = [closure_with([p], [[1.0]]), closure_with([p], [[3.0]])]
    opposed = [closure_with([p], [[1.0]]), closure_with([p], [[-3.0]])]
    optimizer.step(agreeing)
    assert p.item() == 10 - 3.0  # 2 + 0.1 * 10
    optimizer.step(opposed)
    assert (p.item(), p.grad) == (7.0, None)
    optimizer.step(agreeing)
    assert p.item() == pytest.approx(7 - (0.5 * 3 + 2 + 0.7))
    assert p.grad.item() == 2.0


def test_the_distance_is_of_the_whole_network_and_not_of_single_parameters():
    """Opposed in the second parameter, which alone would be left out; together cos = (6 - 1) / (sqrt(5) * sqrt(10))."""
    p, q = parameter(0.0), parameter(0.0)
    optimizer = GradientAgreement([{"params": [p]}, {"params": [q], "lr": 10.0}], lr=1.0, threshold=0.3)
    optimizer.step([closure_with([p, q], [[2.0], [1.0]]), closure_with([p, q], [[3.0], [-1.0]])])
    assert (p.item(), q.item(), optimizer.agreed) == (-2.5, 0.0, 1)


def test_a_gradient_missing_in_one_group_counts_as_zero_and_what_no_group_reaches_stays():
    p, q, r = parameter(0.0), parameter(0.0), parameter(1.0)
    optimizer = GradientAgreement([p, q, r], lr=1.0, weight_decay=0.5)
    # cos of (3, 4) and (5, 0) = 15 / 25
    optimizer.step([closure_with([p, q, r], [[3.0], [4.0], None]), closure_with([p, q, r], [[5.0], None, None])])
    assert (p.item(), q.item(), r.item()) == (-4.0, -2.0, 1.0)


def test_a_group_that_reaches_nothing_is_left_out():
    p = parameter(0.0)
    optimizer = GradientAgreement([p], lr=1.0, groups=3, threshold=2)
    optimizer.step([closure_with([p], [None]), closure_with([p], [[2.0]]), closure_with([p], [[4.0]])])
    assert (p.item(), optimizer.agreed) == (-3.0, 1)
    optimizer.step([closure_with([p], [[2.0]]), closure_with([p], [None]), closure_with([p], [None])])
    assert (p.item(), optimizer.agreed) == (-3.0, 0)


def test_what_is_not_a_number_is_not_hidden():
    moved, agreed = stepped([1.0, 2.0], [float("nan"), 1.0], threshold=0)
    assert np.isnan(moved[0])
    assert agreed == 1


def test_the_loss_is_the_mean_over_all_groups_those_left_out_included():
    p = parameter(0.0)
    closures = [closure_with([p], [[1.0]], loss=1.0), closure_with([p], [[-1.0]], loss=5.0)]
    assert GradientAgreement([p], lr=1.0).step(closures).item() == 3.0


GRADIENTS = st.integers(2, 6).flatmap(
    lambda groups: arrays(np.float64, (groups, 5), elements=st.integers(-3, 3).map(float))
)


@given(GRADIENTS, st.sampled_from([0.0513, 0.3127, 0.7719, 0.9703, 1.1303, 1.7119]))
def test_a_step_follows_the_rule(gradients, threshold):
    """Two parameters of 2 and 3 coordinates; thresholds at which no such vectors are, where rounding would decide."""
    p, q = parameter(0.0, 0.0), parameter(0.0, 0.0, 0.0)
    optimizer = GradientAgreement([p, q], lr=1.0, threshold=threshold, groups=len(gradients))
    optimizer.step([closure_with([p, q], [row[:2].tolist(), row[2:].tolist()]) for row in gradients])
    direction, agreed = rule(gradients, threshold)
    assert optimizer.agreed == agreed
    expected = np.zeros(5) if direction is None else -direction
    assert np.allclose(np.array(p.tolist() + q.tolist()), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": -0.1}, r"found threshold -0.1, expected a cosine distance in \[0, 2\]"),
        ({"threshold": 2.1}, r"found threshold 2.1"),
        ({"groups": 1}, "found groups 1, expected at least 2"),
        ({"lr": 0.0}, "found lr 0.0, expected a positive number"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"GradientAgreement: {message}"):
        GradientAgreement([parameter(1.0)], **{"lr": 1.0} | settings)


def test_one_closure_per_group_is_asked_for():
    p = parameter(1.0)
    with pytest.raises(ValueError, match="GradientAgreement: found 3 closures, expected one for each of 2 groups"):
        GradientAgreement([p], lr=1.0).step([closure_with([p], [[1.0]])] * 3)
