"""Optimisers that continue from stored state as if they had never stopped."""

import copy

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from mcoherence.optim import (
    M3,
    RA3,
    RM3,
    SGD,
    SuccessiveM3,
    WinsorizedSGD,
    load_optimizer_tensors,
    optimizer_tensors,
)

HEAVY = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
OPTIMIZERS = {
    "sgd": lambda model: SGD(model.parameters(), lr=0.1),
    "sgd, momentum": lambda model: SGD(model.parameters(), lr=0.1, **HEAVY),
    "m3, momentum": lambda model: M3(model.parameters(), lr=0.1, allow_momentum=True, **HEAVY),
    "m3_successive": lambda model: SuccessiveM3(model.parameters(), lr=0.1, groups=5),
    "m3_successive, momentum": lambda model: SuccessiveM3(model.parameters(), lr=0.1, allow_momentum=True, **HEAVY),
    "rm3": lambda model: RM3(model.parameters(), lr=0.1),
    "rm3, momentum": lambda model: RM3(model.parameters(), lr=0.1, allow_momentum=True, **HEAVY),
    "rm3, groups": lambda model: RM3(
        [{"params": model[0].parameters(), "lr": 0.3}, {"params": model[2].parameters()}], lr=0.1
    ),
    "ra3": lambda model: RA3(model.parameters(), lr=0.1),
    "winsorized, momentum": lambda model: WinsorizedSGD(model.parameters(), lr=0.1, c=10, model=model, **HEAVY),
}


def by_state_dict(optimizer, other):
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def by_safetensors(optimizer, other):
    load_optimizer_tensors(other, load(save(optimizer_tensors(optimizer))))


def by_tensors_in_memory(optimizer, other):
    load_optimizer_tensors(other, optimizer_tensors(optimizer))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 1))


def step(optimizer, model, number):
    """One step on random data made of the step's number."""
    generator = torch.Generator().manual_seed(number)
    inputs, targets = torch.randn(6, 4, generator=generator), torch.randn(6, 1, generator=generator)

    def mean_loss(x, y):
        return (model(x) - y).square().mean()

    def closure_of(part):
        def closure():
            optimizer.zero_grad()
            loss = mean_loss(inputs[part], targets[part])
            loss.backward()
            return loss

        return closure

    if isinstance(optimizer, WinsorizedSGD):
        optimizer.step(mean_loss, inputs, targets)
    elif isinstance(optimizer, M3):
        optimizer.step([closure_of(slice(start, start + 2)) for start in (0, 2, 4)])
    else:
        optimizer.step(closure_of(slice(None)))


@pytest.mark.parametrize("carry_over", [by_state_dict, by_safetensors, by_tensors_in_memory])
@pytest.mark.parametrize("stop", range(5))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_continuing_is_equal_to_the_bit_wherever_it_stopped(name, stop, carry_over):
    model = network()
    optimizer = OPTIMIZERS[name](model)
    for number in range(stop):
        step(optimizer, model, number)
    twin = copy.deepcopy(model)
    resumed = OPTIMIZERS[name](twin)
    carry_over(optimizer, resumed)
    # One after the other: the two must not share memory.
    for number in range(stop, stop + 7):
        step(optimizer, model, number)
    for number in range(stop, stop + 7):
        step(resumed, twin, number)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True))


def test_state_by_name():
    p, q = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    optimizer = RM3([{"params": [p]}, {"params": [q]}], lr=1.0, momentum=0.5, allow_momentum=True)
    assert optimizer_tensors(optimizer) == {}
    for gradient in (1.0, 2.0, 4.0):
        p.grad, q.grad = torch.full_like(p, gradient), torch.full_like(q, -gradient)
        optimizer.step()
    assert {name: tensor.tolist() for name, tensor in optimizer_tensors(optimizer).items()} == {
        "0.previous.0": [2.0, 2.0],
        "0.previous.1": [4.0, 4.0],
        "0.momentum_buffer": [2.0, 2.0],
        "1.previous.0": [-2.0],
        "1.previous.1": [-4.0],
        "1.momentum_buffer": [-2.0],
    }


def test_positions_beyond_nine_keep_their_order():
    p = nn.Parameter(torch.zeros(1))
    optimizer, resumed = (SuccessiveM3([p], lr=1.0, groups=13) for _ in range(2))
    for gradient in range(12):
        p.grad = torch.full_like(p, gradient)
        optimizer.step()
    load_optimizer_tensors(resumed, dict(sorted(optimizer_tensors(optimizer).items())))
    assert [tensor.item() for tensor in resumed.state[p]["gathered"]] == list(range(12))


def test_numbers_are_stored_as_tensors_without_dimensions():
    p = nn.Parameter(torch.zeros(2))
    adam, resumed = (torch.optim.Adam([p], lr=1.0) for _ in range(2))
    p.grad = torch.ones(2)
    adam.step()
    assert optimizer_tensors(adam)["0.step"].shape == ()
    load_optimizer_tensors(resumed, optimizer_tensors(adam))
    assert resumed.state[p]["step"].item() == 1


@pytest.mark.parametrize("name", ["1.previous.0", "0.previous.0"])
def test_state_of_another_network_is_refused(name):
    optimizer = RM3([nn.Parameter(torch.zeros(3))], lr=1.0)
    with pytest.raises(ValueError, match=rf"optimiser state {name}: found shape \[2\], expected .* same settings"):
        load_optimizer_tensors(optimizer, {name: torch.zeros(2)})
