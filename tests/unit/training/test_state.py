"""Optimisers that continue from a stored state as if they had never stopped."""

import copy

import pytest
import torch
from torch import nn

from mcoherence.optim import (
    M3,
    RA3,
    RM3,
    SGD,
    Adam,
    AdamW,
    ClippedSGD,
    GradientAgreement,
    SGDWithM3Norm,
    SuccessiveM3,
    WinsorizedSGD,
)
from mcoherence.optim.methods import METHODS
from mcoherence.training.state import TrainingState, read_state, write_state

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
    "gradient_agreement, momentum": lambda model: GradientAgreement(model.parameters(), lr=0.1, groups=3, **HEAVY),
    "sgd_m3_norm": lambda model: SGDWithM3Norm(model.parameters(), lr=0.1, groups=3),
    "sgd_clipped, momentum": lambda model: ClippedSGD(model.parameters(), lr=0.1, max_norm=0.5, **HEAVY),
    "adam": lambda model: Adam(model.parameters(), lr=0.1, weight_decay=0.01),
    "adamw": lambda model: AdamW(model.parameters(), lr=0.1, betas=(0, 0.99)),
}
PARTS = {"m3": 3, "sgd_m3_norm": 3, "gradient_agreement": 3}  # others step on a whole mini-batch


def test_every_method_is_among_them():
    assert {name.partition(",")[0] for name in OPTIMIZERS} == set(METHODS)


def by_state_dict(optimizer, other, _):
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def by_file(optimizer, other, path):
    write_state(path, TrainingState(0, {}, optimizer.state_dict()))
    other.load_state_dict(read_state(path).optimizer)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 1))


def step(name, optimizer, model, number):
    """One step on random data made of the step's number."""
    generator = torch.Generator().manual_seed(number)
    inputs, targets = torch.randn(6, 4, generator=generator), torch.randn(6, 1, generator=generator)
    parts = PARTS.get(name.partition(",")[0], 1)
    batches = list(zip(inputs.chunk(parts), targets.chunk(parts), strict=True))
    optimizer.step_on(batches, lambda x, y: (model(x) - y).square().mean())


@pytest.mark.parametrize("carry_over", [by_state_dict, by_file])
@pytest.mark.parametrize("stop", range(5))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_continuing_is_equal_to_the_bit_wherever_it_stopped(name, stop, carry_over, tmp_path):
    model = network()
    optimizer = OPTIMIZERS[name](model)
    for number in range(stop):
        step(name, optimizer, model, number)
    twin = copy.deepcopy(model)
    resumed = OPTIMIZERS[name](twin)
    carry_over(optimizer, resumed, tmp_path / "state")
    # One after the other: the two must not share memory.
    for number in range(stop, stop + 7):
        step(name, optimizer, model, number)
    for number in range(stop, stop + 7):
        step(name, resumed, twin, number)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True))


def test_what_adam_counts_comes_back_as_a_tensor_without_dimensions(tmp_path):
    p = nn.Parameter(torch.zeros(2))
    p.grad = torch.ones(2)
    adam = Adam([p], lr=1.0)
    for _ in range(3):
        adam.step()
    write_state(tmp_path / "state", TrainingState(3, {}, adam.state_dict()))
    back = read_state(tmp_path / "state").optimizer
    assert (back["state"][0]["step"].shape, back["state"][0]["step"].item()) == ((), 3)
    assert back["param_groups"] == adam.state_dict()["param_groups"]  # betas a tuple, as torch wants them
