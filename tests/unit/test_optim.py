"""M3 and RM3 on gradients chosen by hand; medians against numpy."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mcoherence.optim import M3, RA3, RM3, SGD
from mcoherence.optim.median import median_of_lists

FINITE = st.floats(-(2.0**120), 2.0**120, width=32)


def parameter(*values, dtype=torch.float64):
    return torch.nn.Parameter(torch.tensor(values, dtype=dtype))


def closure_with_gradient(p, *gradient, loss=0.0):
    """A closure whose backward pass leaves exactly this gradient, and whose loss is `loss`."""

    def closure():
        p.grad = torch.tensor(gradient, dtype=p.dtype)
        return torch.tensor(loss)

    return closure


@given(arrays(np.float32, (3, 8), elements=FINITE))
def test_median_of_three_is_exact_to_the_bit(values):
    a, b, c = (torch.from_numpy(row.copy()) for row in values)
    (median,) = median_of_three([a], [b], [c])
    assert np.array_equal(median.numpy(), np.sort(values, axis=0)[1])


def test_median_keeps_digits_that_sum_minus_extremes_loses():
    a, b, c = torch.tensor([1e8]), torch.tensor([-1e8]), torch.tensor([3.0])
    assert median_of_three([a], [b], [c])[0].item() == 3.0


def test_median_of_three_survives_infinities():
    a, b, c = torch.tensor([float("inf")]), torch.tensor([float("-inf")]), torch.tensor([2.0])
    assert median_of_three([a], [b], [c])[0].item() == 2.0


def test_median_of_five():
    lists = [[torch.tensor([value])] for value in (5.0, -1.0, 100.0, 2.0, 3.0)]
    assert median_of_lists(lists)[0].item() == 3.0


def test_m3_steps_along_the_median_of_its_groups_and_returns_the_mean_loss():
    p = parameter(1.0, 1.0)
    closures = [
        closure_with_gradient(p, 1.0, 5.0, loss=1.0),
        closure_with_gradient(p, 2.0, -7.0, loss=2.0),
        closure_with_gradient(p, 9.0, 0.5, loss=6.0),
    ]
    loss = M3([p], lr=0.1).step(closures)
    assert p.tolist() == pytest.approx([1.0 - 0.1 * 2.0, 1.0 - 0.1 * 0.5])
    assert loss.item() == 3.0


def test_m3_does_not_depend_on_the_order_of_its_groups():
    gradients = [(1.0, 5.0), (2.0, -7.0), (9.0, 0.5)]
    results = []
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        p = parameter(0.0, 0.0)
        M3([p], lr=1.0).step([closure_with_gradient(p, *gradients[i]) for i in order])
        results.append(p.tolist())
    assert results[0] == results[1] == results[2]


def test_m3_on_equal_groups_is_sgd():
    torch.manual_seed(0)
    model, inputs = torch.nn.Linear(4, 1).double(), torch.randn(6, 4).double()
    twin = torch.nn.Linear(4, 1).double()
    twin.load_state_dict(model.state_dict())
    m3, sgd = M3(model.parameters(), lr=0.1), torch.optim.SGD(twin.parameters(), lr=0.1)

    def closure(of, optimizer):
        def backward():
            optimizer.zero_grad()
            loss = of(inputs).square().mean()
            loss.backward()
            return loss

        return backward

    for _ in range(3):
        m3.step([closure(model, m3)] * 3)
        sgd.step(closure(twin, sgd))
    assert torch.equal(model.weight, twin.weight)
    assert torch.equal(model.bias, twin.bias)


def test_m3_asks_for_one_closure_per_group():
    p = parameter(1.0)
    with pytest.raises(ValueError, match="found 2 closures, expected one for each of 3"):
        M3([p], lr=0.1).step([closure_with_gradient(p, 1.0)] * 2)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_m3_refuses_a_number_of_groups_without_a_middle(groups):
    with pytest.raises(ValueError, match="odd number of at least 3"):
        M3([parameter(1.0)], lr=0.1, groups=groups)


@pytest.mark.parametrize("optimizer", [M3, RM3, RA3])
def test_a_learning_rate_must_be_positive(optimizer):
    with pytest.raises(ValueError, match="positive number"):
        optimizer([parameter(1.0)], lr=0.0)


def trajectory(gradients, lr=1.0, optimizer=RM3):
    """The parameter after each step, from 0, when step t sees gradients[t]."""
    p = parameter(*[0.0] * len(gradients[0]))
    optimizer = optimizer([p], lr=lr)
    trajectory = []
    for gradient in gradients:
        p.grad = torch.tensor(gradient, dtype=p.dtype)
        optimizer.step()
        trajectory.append(p.tolist())
    return trajectory


def test_rm3_waits_two_steps_then_follows_the_median_of_the_last_three():
    gradients = [(1.0, 9.0), (2.0, -5.0), (7.0, 1.0), (-4.0, 0.0), (3.0, 8.0)]
    # medians of steps 1-3: (2, 1); of 2-4: (2, 0); of 3-5: (3, 1)
    assert trajectory(gradients) == [[0, 0], [0, 0], [-2, -1], [-4, -1], [-7, -2]]


def test_rm3_on_a_constant_gradient_is_sgd_two_steps_late():
    assert trajectory([(2.0,)] * 5, lr=0.5) == [[0], [0], [-1], [-2], [-3]]


def test_rm3_ignores_a_direction_that_one_of_three_minibatches_supports():
    assert trajectory([(0.0,), (0.0,), (1e6,), (0.0,), (0.0,)])[-1] == [0.0]


def test_ra3_waits_two_steps_then_follows_the_mean_of_the_last_three():
    gradients = [(1.0, 9.0), (2.0, -6.0), (6.0, 0.0), (-5.0, 0.0)]
    # means of steps 1-3: (3, 1); of 2-4: (1, -2)
    assert trajectory(gradients, optimizer=RA3) == [[0, 0], [0, 0], [-3, -1], [-4, 1]]


def test_ra3_on_a_constant_gradient_is_sgd_two_steps_late():
    assert trajectory([(3.0,)] * 4, lr=0.5, optimizer=RA3) == [[0], [0], [-1.5], [-3]]


def test_rm3_keeps_copies_of_gradients_that_later_passes_overwrite():
    p = parameter(0.0)
    optimizer = RM3([p], lr=1.0)
    p.grad = torch.zeros_like(p)
    for gradient in (1.0, 2.0, 30.0):
        p.grad.fill_(gradient)
        optimizer.step()
    assert p.item() == -2.0


def test_rm3_counts_a_missing_gradient_as_zero_and_stays_in_phase():
    p, q = parameter(0.0), parameter(0.0)
    optimizer = RM3([p, q], lr=1.0)
    for step in range(3):
        p.grad = torch.tensor([1.0], dtype=p.dtype)
        q.grad = None if step == 1 else torch.tensor([1.0], dtype=q.dtype)
        optimizer.step()
    assert (p.item(), q.item()) == (-1.0, -1.0)


def test_rm3_returns_the_loss_of_its_closure():
    p = parameter(0.0)
    assert RM3([p], lr=1.0).step(closure_with_gradient(p, 1.0, loss=4.0)).item() == 4.0
    p.grad = torch.zeros_like(p)
    assert RM3([p], lr=1.0).step() is None


def test_rm3_uses_the_learning_rate_of_each_parameter_group():
    p, q = parameter(0.0), parameter(0.0)
    optimizer = RM3([{"params": [p], "lr": 1.0}, {"params": [q]}], lr=0.1)
    for _ in range(3):
        p.grad, q.grad = torch.ones_like(p), torch.ones_like(q)
        optimizer.step()
    assert (p.item(), q.item()) == pytest.approx((-1.0, -0.1))


def test_rm3_continues_exactly_from_its_state_dict():
    torch.manual_seed(0)
    gradients = torch.randn(12, 5, dtype=torch.float64)

    def steps(optimizer, p, rows):
        for row in rows:
            p.grad = row.clone()
            optimizer.step()

    p = torch.nn.Parameter(torch.zeros(5, dtype=torch.float64))
    optimizer = RM3([p], lr=0.3)
    steps(optimizer, p, gradients[:4])
    q = torch.nn.Parameter(p.detach().clone())
    resumed = RM3([q], lr=0.7)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(optimizer, p, gradients[4:])
    steps(resumed, q, gradients[4:])
    assert torch.equal(p, q)


@pytest.mark.parametrize(
    "settings", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"weight_decay": 0.1}], ids=str
)
def test_sgd_is_torchs_to_the_bit(settings):
    torch.manual_seed(0)
    gradients = torch.randn(6, 5)
    own, torchs = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    optimizers = [SGD([own], lr=0.1, **settings), torch.optim.SGD([torchs], lr=0.1, **settings)]
    for gradient in gradients:
        for p, optimizer in zip((own, torchs), optimizers, strict=True):
            optimizer.zero_grad()
            p.grad = gradient.clone()
            optimizer.step()
    assert torch.equal(own, torchs)
