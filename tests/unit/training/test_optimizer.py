"""One update by settings, against the definitions written out with autograd and NumPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from mcoherence.errors import UserError
from mcoherence.optim import M3, RA3, RM3, SGD, SuccessiveM3, WinsorizedSGD
from mcoherence.training.schedules import parts_of_update
from mcoherence.training.update import make_optimizer, update

LR = 0.5


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(60, 5, generator=generator).double(), torch.randint(0, 3, (60,), generator=generator)


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def gradient(model, inputs, labels):
    """The gradient of the mean loss as one vector, NumPy."""
    grads = torch.autograd.grad(F.cross_entropy(model(inputs), labels), list(model.parameters()))
    return torch.cat([g.flatten() for g in grads]).numpy()


def set_weights(model, vector):
    nn.utils.vector_to_parameters(torch.from_numpy(vector), model.parameters())


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach().numpy().copy()


def definition(method, inputs, labels, batch_size=6, updates=5):
    """Weights after each update, from the papers' definitions."""
    model, recent, history = network(), [], []
    batches = iter(torch.arange(60).split(batch_size))
    for _ in range(updates):
        taken = [next(batches) for _ in range(3 if method == "m3_successive" else 1)]
        whole = [gradient(model, inputs[batch], labels[batch]) for batch in taken]
        recent = [*recent, whole[-1]][-3:]
        if method == "m3":
            direction = np.median([gradient(model, inputs[b], labels[b]) for b in taken[0].chunk(3)], axis=0)
        elif method == "m3_successive":
            direction = np.median(whole, axis=0)
        elif method == "winsorized":  # c = 20 of six examples: one at each end
            rows = np.sort([gradient(model, inputs[i : i + 1], labels[i : i + 1]) for i in taken[0]], axis=0)
            direction = (2 * rows[1] + rows[2] + rows[3] + 2 * rows[4]) / 6
        else:
            combined = {"sgd": recent[-1], "rm3": np.median(recent, axis=0), "ra3": np.mean(recent, axis=0)}[method]
            direction = combined if method == "sgd" or len(recent) == 3 else 0.0
        set_weights(model, weights(model) - LR * direction)
        history.append(weights(model))
    return history


SETTINGS = {
    "sgd": {"method": "sgd"},
    "m3": {"method": "m3", "groups": 3},
    "m3_successive": {"method": "m3_successive", "groups": 3},
    "rm3": {"method": "rm3"},
    "ra3": {"method": "ra3"},
    "winsorized": {"method": "winsorized", "c": 20},
}


@pytest.mark.parametrize("method", SETTINGS)
def test_updates_follow_the_definition(method, data):
    settings = {**SETTINGS[method], "lr": LR}
    inputs, labels = data
    expected = definition(method, inputs, labels, updates=3 if method == "m3_successive" else 5)
    model = network()
    optimizer = make_optimizer(settings, model)
    batches, (mini_batches, groups) = iter(torch.arange(60).split(6)), parts_of_update(settings)
    for after in expected:
        parts = [part for _ in range(mini_batches) for part in next(batches).chunk(groups)]
        before = F.cross_entropy(model(inputs[torch.cat(parts)]), labels[torch.cat(parts)]).item()
        loss = update(
            optimizer, [(inputs[part], labels[part]) for part in parts], lambda x, y: F.cross_entropy(model(x), y)
        )
        assert weights(model) == pytest.approx(after, rel=1e-10, abs=1e-14)
        assert (loss.item(), loss.shape, loss.requires_grad) == (pytest.approx(before), (), False)


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("sgd", SGD),
        ("m3", M3),
        ("m3_successive", SuccessiveM3),
        ("rm3", RM3),
        ("ra3", RA3),
        ("winsorized", WinsorizedSGD),
    ],
)
def test_settings_make_the_optimiser_that_they_name(method, kind):
    of_the_loop = {"schedule": {"kind": "constant"}, "start": {"labels": "all_random", "optimizer": "sgd"}}
    optimizer = make_optimizer({**SETTINGS[method], "lr": 0.2, "weight_decay": 0.1, **of_the_loop}, network())
    assert type(optimizer) is kind
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.2, 0.1)


@pytest.mark.parametrize("method", ["sgd", "rm3", "winsorized"])
def test_a_rate_set_on_the_groups_counts_from_the_next_update(method, data):
    model = network()
    optimizer = make_optimizer({**SETTINGS[method], "lr": LR}, model)
    start = weights(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for _ in range(3):
        update(optimizer, [data], lambda x, y: F.cross_entropy(model(x), y))
    assert np.array_equal(weights(model), start)


def test_batch_norm_normalises_each_group_of_m3_by_its_own_statistics(data):
    inputs, labels = data
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
    start, parts = weights(model), [(inputs[i : i + 20], labels[i : i + 20]) for i in (0, 20, 40)]
    expected = np.median([gradient(model, *part) for part in parts], axis=0)
    model[1].reset_running_stats()
    update(make_optimizer({"method": "m3", "lr": 1.0}, model), parts, lambda x, y: F.cross_entropy(model(x), y))
    assert weights(model) == pytest.approx(start - expected)
    assert model[1].num_batches_tracked == 3


def test_winsorised_sgd_on_batch_norm_is_refused_before_training():
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    with pytest.raises(UserError, match=r"winsorised SGD: found batch norm in training mode \(layer 1\)"):
        make_optimizer({"method": "winsorized", "c": 2, "lr": 1.0}, model)


def test_a_group_without_examples_votes_for_zero(data):
    model, (inputs, labels) = network(), data
    parts = [(inputs[i : i + 1], labels[i : i + 1]) for i in range(2)] + [(inputs[:0], labels[:0])]
    start = weights(model)
    expected = np.median([gradient(model, *parts[0]), gradient(model, *parts[1]), np.zeros_like(start)], axis=0)
    before = F.cross_entropy(model(inputs[:2]), labels[:2]).item()
    optimizer = make_optimizer({"method": "m3", "lr": LR}, model)
    loss = update(optimizer, parts, lambda x, y: F.cross_entropy(model(x), y))
    assert weights(model) == pytest.approx(start - LR * expected)
    assert loss.item() == pytest.approx(before)
