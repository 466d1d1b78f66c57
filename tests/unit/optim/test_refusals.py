"""What optimisers refuse: settings that a scheduler or a state brings in, calls of the wrong shape, odd gradients."""

import copy
import math
from importlib import import_module

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.optim.lr_scheduler import CyclicLR, LambdaLR, OneCycleLR

import mcoherence.optim
from mcoherence.errors import UserError
from mcoherence.optim import M3, RA3, RM3, SGD, Adam, AdamW, GradientAgreement, SuccessiveM3, WinsorizedSGD
from mcoherence.optim.methods import METHODS

STEPPED = {"RM3": RM3, "RA3": RA3, "SuccessiveM3": SuccessiveM3, "SGD": SGD, "Adam": Adam, "AdamW": AdamW}
GROUPED = {"M3": (M3, 3), "GradientAgreement": (GradientAgreement, 2)}
ALL = [*STEPPED, *GROUPED, "WinsorizedSGD"]
X, Y = torch.arange(24.0).reshape(6, 4) / 24, torch.tensor([0, 1, 2, 0, 1, 2])


def backward_of(optimizer, model, inputs, labels):
    """The closure of a step: fresh gradients of the mean cross-entropy, which it returns."""

    def backward():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        return loss

    return backward


def made(name, model, **settings):
    """An optimiser over the model, and a function that makes one step of it on six examples."""
    if name == "WinsorizedSGD":
        optimizer = WinsorizedSGD(model.parameters(), c=0, model=model, **settings)
        return optimizer, lambda: optimizer.step(lambda x, y: F.cross_entropy(model(x), y), X, Y)

    def closure(part):
        return backward_of(optimizer, model, X[part], Y[part])

    if name in GROUPED:
        kind, groups = GROUPED[name]
        optimizer = kind(model.parameters(), **settings)
        return optimizer, lambda: optimizer.step([closure(slice(k, None, groups)) for k in range(groups)])
    optimizer = STEPPED[name](model.parameters(), **settings)
    return optimizer, lambda: optimizer.step(closure(slice(None)))


@pytest.mark.parametrize("name", ["M3", "RM3", "RA3", "SuccessiveM3"])
@pytest.mark.parametrize(
    "scheduler",
    [
        lambda optimizer: OneCycleLR(optimizer, 0.2, total_steps=10),
        lambda optimizer: CyclicLR(optimizer, 0.1, 0.2),
    ],
    ids=["OneCycleLR", "CyclicLR"],
)
def test_momentum_that_a_scheduler_switches_on_is_refused_at_the_step(name, scheduler):
    model = nn.Linear(4, 3)
    before = copy.deepcopy(model.state_dict())
    optimizer, step = made(name, model, lr=0.1)
    scheduler(optimizer)
    with pytest.raises(UserError, match=rf"^{name}: found momentum 0\.\d+, expected 0: .*cycle_momentum=False"):
        step()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_momentum_that_is_allowed_may_be_scheduled():
    model = nn.Linear(4, 3)
    optimizer, step = made("RM3", model, lr=0.1, allow_momentum=True)
    OneCycleLR(optimizer, 0.2, total_steps=10)
    for _ in range(3):
        step()
    assert "momentum_buffer" in optimizer.state[model.weight]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("key", "value"),
    [("lr", math.nan), ("lr", math.inf), ("lr", -0.1), ("weight_decay", -1.0), ("weight_decay", math.nan)],
)
def test_a_setting_out_of_its_range_is_refused_at_the_step_and_in_a_state(name, key, value):
    optimizer, step = made(name, nn.Linear(4, 3), lr=0.1)
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0][key] = value
    with pytest.raises(UserError, match=rf"^{name}: found {key} {value}, expected a number of at least 0"):
        optimizer.load_state_dict(state)
    assert optimizer.param_groups[0][key] != value
    optimizer.param_groups[0][key] = value
    with pytest.raises(UserError, match=rf"^{name}: found {key} {value}, expected"):
        step()


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@pytest.mark.parametrize(("key", "value"), [("betas", (1.0, 0.9)), ("eps", math.nan)])
def test_so_are_the_settings_of_adam(name, key, value):
    optimizer, step = made(name, nn.Linear(4, 3), lr=0.1)
    optimizer.param_groups[0][key] = value
    with pytest.raises(UserError, match=rf"^{name}: found {key} .*, expected"):
        step()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("lr", [math.nan, math.inf])
def test_a_rate_that_is_no_finite_number_is_refused_at_the_start(name, lr):
    with pytest.raises(ValueError, match=r"nan|inf"):
        made(name, nn.Linear(4, 3), lr=lr)


@pytest.mark.parametrize("name", ALL)
def test_a_schedule_may_take_the_rate_to_zero(name):
    model = nn.Linear(4, 3)
    before = copy.deepcopy(model.state_dict())
    optimizer, step = made(name, model, lr=0.1)
    LambdaLR(optimizer, lambda _: 0.0)
    for _ in range(3):
        step()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", [*STEPPED])
def test_a_copy_of_an_optimiser_steps_as_the_original_does(name):
    twins = []
    for copied in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        optimizer, step = made(name, model, lr=0.1)
        for _ in range(3):
            step()
        if copied:
            optimizer, model = copy.deepcopy((optimizer, model))
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        optimizer.step()
        twins.append(model.weight.detach())
    assert torch.equal(*twins)


CLOSURES = "expected a list of closures, one for each of 3 groups of the mini-batch"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: torch.tensor(1.0), f"^M3: found one closure, {CLOSURES}"),
        ([1.0, 2.0, 3.0], f"^M3: found a float in it, {CLOSURES}"),
        (torch.ones(3), f"^M3: found a Tensor, {CLOSURES}"),
        (None, "^M3: found 0 closures, expected one for each of 3 groups"),
        ([lambda: None] * 3, "^step: found a closure that returns None, expected the loss"),
    ],
    ids=["one closure", "numbers", "a tensor", "nothing", "no losses"],
)
def test_m3_says_what_it_is_to_be_called_with(given, message):
    with pytest.raises(UserError, match=message):
        M3(nn.Linear(4, 3).parameters(), lr=0.1).step(given)


def test_so_do_those_that_take_one_closure_or_a_mini_batch():
    model = nn.Linear(4, 3)
    with pytest.raises(UserError, match=r"^step: found a list, expected one closure, or none after a backward pass"):
        RM3(model.parameters(), lr=0.1).step([lambda: torch.tensor(1.0)])
    winsorized = WinsorizedSGD(model.parameters(), lr=0.1, c=1, model=model)
    with pytest.raises(UserError, match=r"found none handed to step, expected step\(mean_loss, inputs, labels\)"):
        winsorized.step(lambda: torch.tensor(1.0))
    with pytest.raises(UserError, match="found 6 inputs and 2 labels handed to step"):
        winsorized.step(lambda x, y: F.cross_entropy(model(x), y), X, Y[:2])


def weights_after(name, sparse, **settings):
    """The embedding's weights after six steps on embedded words."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 4, sparse=sparse), nn.Flatten(), nn.Linear(8, 3))
    words = torch.randint(0, 7, (6, 6, 2), generator=torch.Generator().manual_seed(1))
    groups = GROUPED[name][1] if name in GROUPED else 1
    optimizer = (GROUPED[name][0] if name in GROUPED else STEPPED[name])(model.parameters(), lr=0.5, **settings)

    for batch in words:
        parts = [slice(k, None, groups) for k in range(groups)]
        closures = [backward_of(optimizer, model, batch[part], Y[part]) for part in parts]
        optimizer.step(closures if name in GROUPED else closures[0])
    return model[0].weight.detach()


@pytest.mark.parametrize("name", ["SGD", "RM3", "RA3", "SuccessiveM3", *GROUPED])
def test_sparse_gradients_are_taken_as_dense_ones(name):
    assert torch.allclose(weights_after(name, sparse=True), weights_after(name, sparse=False), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "settings"), [("Adam", {}), ("AdamW", {}), ("SGD", {"weight_decay": 0.1})])
def test_or_refused_at_the_first_step_where_torch_takes_none(name, settings):
    expected = rf"^{name}: found a sparse gradient of the parameter number 0 of its group of shape \[7, 4\]"
    with pytest.raises(UserError, match=expected):
        weights_after(name, sparse=True, **settings)


def test_winsorised_sgd_names_the_layer_with_sparse_gradients():
    model = nn.Sequential(nn.Embedding(7, 4, sparse=True), nn.Flatten())
    optimizer = WinsorizedSGD(model.parameters(), lr=0.1, c=0, model=model)
    with pytest.raises(UserError, match=r"found sparse=True \(layer 0\), expected dense gradients"):
        optimizer.step(lambda x, y: F.cross_entropy(model(x), y), torch.tensor([[1], [2]]), torch.tensor([0, 1]))


class ComplexWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(4, 3, dtype=torch.complex64))

    def forward(self, x):
        return (x.to(torch.complex64) @ self.w).abs()


@pytest.mark.parametrize("name", ["M3", "RM3", "SuccessiveM3", "GradientAgreement", "WinsorizedSGD"])
def test_complex_parameters_are_refused_at_the_first_step_where_gradients_are_compared(name):
    _, step = made(name, ComplexWeights(), lr=0.1)
    with pytest.raises(UserError, match=rf"^{name}: found complex numbers in the parameter .* of shape \[4, 3\]"):
        step()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RA3"])
def test_and_taken_where_they_are_added_up(name):
    model = ComplexWeights()
    _, step = made(name, model, lr=0.1)
    for _ in range(3):
        step()
    assert not torch.equal(model.w, torch.ones_like(model.w))


class Tied(nn.Module):
    """One module under three names, and one weight in two modules."""

    def __init__(self):
        super().__init__()
        self.block, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.alias, self.all = self.block, nn.ModuleList([self.block])
        self.other.weight = self.block.weight

    def forward(self, x):
        return self.other(self.alias(self.block(x).tanh()).tanh())


def test_winsorised_sgd_with_nothing_clipped_is_sgd_on_tied_weights_and_leaves_the_model_as_it_is():
    torch.manual_seed(0)
    model = Tied().double()
    twin = copy.deepcopy(model)
    held = dict(model.named_parameters(remove_duplicate=False))
    optimizer, sgd = (
        WinsorizedSGD(model.parameters(), lr=0.5, c=0, model=model),
        torch.optim.SGD(twin.parameters(), 0.5),
    )
    x = X.double()
    for _ in range(3):
        optimizer.step(lambda inputs, labels: F.cross_entropy(model(inputs), labels), x, Y)
        sgd.zero_grad()
        F.cross_entropy(twin(x), Y).backward()
        sgd.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-12, atol=1e-14)
    assert all(p is held[name] for name, p in model.named_parameters(remove_duplicate=False))


def test_winsorised_sgd_refuses_parameters_of_another_model():
    model = nn.Linear(4, 3)
    optimizer = WinsorizedSGD(nn.Linear(4, 3).parameters(), lr=0.1, c=0, model=model)
    with pytest.raises(UserError, match=r"found a parameter of shape \[3, 4\] that its model does not hold"):
        optimizer.step(lambda x, y: F.cross_entropy(model(x), y), X, Y)


def test_every_class_is_listed_and_those_of_the_median_of_means_have_their_old_path_too():
    classes = {entry.optimizer for entry in METHODS.values()}
    assert classes == set(mcoherence.optim.__all__) == {name for name in dir(mcoherence.optim) if name[0].isupper()}
    old = import_module("mcoherence.optim.median_of_means")
    assert (old.M3, old.SuccessiveM3) == (M3, SuccessiveM3)
