"""M3, RM3, RA3 and SGD on gradients chosen by hand."""

import numpy as np
import pytest
import torch

from mcoherence.optim import M3, RA3, RM3, SGD, SuccessiveM3

# All that combine gradients without looking at single examples.
ROBUST = [M3, SuccessiveM3, RM3, RA3]


def parameter(*values, dtype=torch.float64):
    return torch.nn.Parameter(torch.tensor(values, dtype=dtype))


def closure_with_gradient(p, *gradient, loss=0.0):
    """A closure whose backward pass leaves exactly this gradient, and whose loss is `loss`."""

    def closure():
        p.grad = torch.tensor(gradient, dtype=p.dtype)
        return torch.tensor(loss)

    return closure


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


@pytest.mark.parametrize("optimizer", [M3, SuccessiveM3])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_m3_refuses_a_number_of_groups_without_a_middle(groups, optimizer):
    with pytest.raises(ValueError, match="odd number of at least 3"):
        optimizer([parameter(1.0)], lr=0.1, groups=groups)


def test_m3_of_five_groups():
    p = parameter(0.0)
    M3([p], lr=1.0, groups=5).step([closure_with_gradient(p, g) for g in (5.0, -1.0, 1e30, 2.0, 3.0)])
    assert p.item() == -3.0


def test_m3_counts_a_gradient_missing_in_one_group_as_zero_and_leaves_out_what_no_group_reaches():
    p, q = parameter(1.0), parameter(1.0)

    def closure(gradient):
        def backward():
            p.grad = None if gradient is None else torch.tensor([gradient], dtype=p.dtype)
            return torch.tensor(0.0)

        return backward

    # The median of (4, none, 6) is that of (4, 0, 6); weight decay adds 0.5 * 1 to it, and leaves q alone.
    M3([p, q], lr=1.0, weight_decay=0.5).step([closure(4.0), closure(None), closure(6.0)])
    assert (p.item(), q.item()) == (1.0 - 4.5, 1.0)
    assert q.grad is None


def test_m3_with_closures_that_clear_gradients_in_place():
    p = parameter(0.0)
    optimizer = M3([p], lr=1.0)

    def closure(gradient):
        def backward():
            optimizer.zero_grad(set_to_none=False)
            (gradient * p.sum()).backward()
            return torch.tensor(0.0)

        return backward

    optimizer.step([closure(g) for g in (1.0, 7.0, 2.0)])
    optimizer.step([closure(g) for g in (5.0, 3.0, 4.0)])
    assert p.item() == -(2.0 + 4.0)


@pytest.mark.parametrize("optimizer", ROBUST)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, "found lr 0.0, expected a positive number"),
        ({"lr": 1.0, "momentum": 0.9}, r"found momentum 0.9, expected 0: .*unstable.*allow_momentum"),
        ({"lr": 1.0, "momentum": 1.0, "allow_momentum": True}, r"found momentum 1.0, expected a number in \[0, 1\)"),
        ({"lr": 1.0, "weight_decay": -0.1}, "found weight_decay -0.1, expected a number of at least 0"),
        ({"lr": 1.0, "nesterov": True}, "found nesterov True, expected False, since momentum is 0"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_out_of_range_are_refused(optimizer, settings, message):
    with pytest.raises(ValueError, match=message):
        optimizer([parameter(1.0)], **settings)
    with pytest.raises(ValueError, match=message):
        optimizer(
            [{"params": [parameter(1.0)], **settings}], lr=1.0, allow_momentum=settings.get("allow_momentum", False)
        )


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


def hand_in(optimizer, parameters, *gradients):
    """One step on gradients [per parameter] of one backward pass; or, of M3, of each of three groups."""

    def closure(gradient):
        def backward():
            for p, g in zip(parameters, gradient, strict=True):
                p.grad = None if g is None else g.clone()
            return torch.tensor(0.0)

        return backward

    closures = [closure(gradient) for gradient in gradients]
    optimizer.step(closures if isinstance(optimizer, M3) else closures[0])


def test_successive_m3_updates_every_third_minibatch_along_the_median_at_the_same_weights():
    gradients = [(1.0, 9.0), (2.0, -5.0), (7.0, 1.0), (-4.0, 0.0), (3.0, 8.0), (0.0, 5.0), (9.0, 9.0)]
    # medians of steps 1-3: (2, 1); of 4-6: (0, 5)
    expected = [[0, 0], [0, 0], [-2, -1], [-2, -1], [-2, -1], [-2, -6], [-2, -6]]
    assert trajectory(gradients, optimizer=SuccessiveM3) == expected


def test_successive_m3_of_five_minibatches():
    def of_five(params, lr):
        return SuccessiveM3(params, lr, groups=5)

    assert trajectory([(5.0,), (-1.0,), (1e30,), (2.0,), (3.0,)], optimizer=of_five) == [[0]] * 4 + [[-3]]


def test_rm3_with_momentum_is_torchs_sgd_on_the_medians():
    gradients = np.random.default_rng(0).normal(size=(9, 4)) * 10.0 ** np.arange(-8, 8, 4)
    settings = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.3}
    p, q = (torch.nn.Parameter(torch.ones(4, dtype=torch.float64)) for _ in range(2))
    rm3, sgd = RM3([p], lr=0.1, allow_momentum=True, **settings), torch.optim.SGD([q], lr=0.1, **settings)
    for step, gradient in enumerate(gradients):
        hand_in(rm3, [p], [torch.from_numpy(gradient)])
        if step >= 2:
            hand_in(sgd, [q], [torch.from_numpy(np.median(gradients[step - 2 : step + 1], axis=0))])
        assert torch.equal(p, q), step


def test_momentum_and_weight_decay_enter_after_the_median():
    p = parameter(10.0)
    optimizer = M3([p], lr=1.0, momentum=0.5, weight_decay=0.1, allow_momentum=True)
    hand_in(optimizer, [p], *([torch.tensor([g], dtype=p.dtype)] for g in (4.0, 2.0, 900.0)))
    assert p.item() == 10 - 5.0  # 4 + 0.1 * 10
    hand_in(optimizer, [p], *([torch.tensor([g], dtype=p.dtype)] for g in (1.0, -800.0, 0.0)))
    assert p.item() == 5 - 3.0  # 0.5 * 5 + (0 + 0.1 * 5)


def test_rm3_leaves_weights_and_momentum_alone_for_two_steps_even_with_weight_decay():
    p = parameter(10.0)
    optimizer = RM3([p], lr=1.0, momentum=0.5, weight_decay=0.1, allow_momentum=True)
    one = [torch.ones_like(p)]
    hand_in(optimizer, [p], one)
    hand_in(optimizer, [p], one)
    assert p.item() == 10.0
    hand_in(optimizer, [p], one)
    assert p.item() == 10.0 - 2.0  # 1 + 0.1 * 10, no momentum of earlier steps
    hand_in(optimizer, [p], one)
    assert p.item() == pytest.approx(8.0 - (0.5 * 2.0 + 1.8))


@pytest.mark.parametrize("optimizer", ROBUST)
def test_gradients_and_parameters_of_any_layout_and_type_step_alike(optimizer):
    """Transposed, strided and channels_last parameters, in float64 and float32, against contiguous float64 ones."""
    generator = torch.Generator().manual_seed(0)
    values = [torch.randint(-9, 9, (2, 3, 4, 4), generator=generator).double() for _ in range(3)]
    odd = [
        values[0].to(memory_format=torch.channels_last),
        values[1].float().permute(3, 0, 2, 1),
        torch.stack([values[2], values[2]], dim=-1)[..., 0],
    ]
    plain = [value.double().contiguous() for value in odd]
    own, oracle = ([torch.nn.Parameter(tensor) for tensor in tensors] for tensors in (odd, plain))
    assert not any(p.is_contiguous() for p in own)
    a, b = optimizer(own, lr=0.5), optimizer(oracle, lr=0.5)
    for _ in range(6):
        # Whole numbers times a power of two: nothing is rounded, in neither type.
        groups = [[torch.randint(-9, 9, p.shape, generator=generator).double() * 3 for p in own] for _ in range(3)]
        hand_in(a, own, *([g.to(p.dtype) for g, p in zip(group, own, strict=True)] for group in groups))
        hand_in(b, oracle, *groups)
    for p, q in zip(own, oracle, strict=True):
        assert torch.equal(p.double(), q)
    assert not torch.equal(own[0], values[0])


@pytest.mark.parametrize("optimizer", ROBUST)
def test_frozen_parameters_and_groups_without_any_other_are_left_alone(optimizer):
    p, q = parameter(1.0), parameter(1.0)
    q.requires_grad_(False)
    both = optimizer([{"params": [p]}, {"params": [q]}], lr=1.0)
    one = torch.ones(1, dtype=p.dtype)
    for _ in range(3):
        hand_in(both, [p, q], *([[one, None]] * 3))
    assert (p.item() < 1.0, q.item()) == (True, 1.0)


@pytest.mark.parametrize("optimizer", ROBUST)
def test_a_gradient_that_is_not_a_number_is_not_hidden(optimizer):
    p = parameter(0.0, 0.0)
    own = optimizer([p], lr=1.0)
    bad, good = torch.tensor([float("nan"), 1.0], dtype=p.dtype), torch.ones_like(p)
    for gradient in (bad, good, good):
        hand_in(own, [p], [gradient], [good], [bad])
    assert p.isnan().tolist() == [True, False]
