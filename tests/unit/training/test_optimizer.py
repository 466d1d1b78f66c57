"""One update by settings, against the definitions written out with autograd and NumPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from mcoherence.errors import UserError
from mcoherence.optim.by_name import class_of
from mcoherence.optim.methods import METHODS
from mcoherence.training.optimizer import make_optimizer

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


MAX_NORM = 0.1  # of ClippedSGD, which cuts every gradient here but leaves the direction


def definition(method, inputs, labels, batch_size=6, updates=5):
    """Weights after each update, from the papers' definitions."""
    model, recent, history = network(), [], []
    means = np.zeros((2, len(weights(model))))  # Adam's, of the gradient and of its square
    batches = iter(torch.arange(60).split(batch_size))
    for _ in range(updates):
        taken = [next(batches) for _ in range(3 if method == "m3_successive" else 1)]
        whole = [gradient(model, inputs[batch], labels[batch]) for batch in taken]
        recent = [*recent, whole[-1]][-3:]
        if method == "m3":
            direction = np.median([gradient(model, inputs[b], labels[b]) for b in taken[0].chunk(3)], axis=0)
        elif method == "sgd_m3_norm":
            groups = [gradient(model, inputs[b], labels[b]) for b in taken[0].chunk(3)]
            mean, median = np.mean(groups, axis=0), np.median(groups, axis=0)
            direction = mean * np.sqrt((median @ median) / (mean @ mean))
        elif method == "sgd_clipped":
            direction = whole[0] * min(1.0, MAX_NORM / np.sqrt(whole[0] @ whole[0]))
        elif method == "m3_successive":
            direction = np.median(whole, axis=0)
        elif method == "gradient_agreement":
            direction, *others = [gradient(model, inputs[b], labels[b]) for b in taken[0].chunk(3)]
            agreed = 0
            for other in others:
                if 1 - direction @ other / np.sqrt(direction @ direction * (other @ other)) <= 1.1:
                    direction, agreed = (direction + other) / 2, agreed + 1
            direction = direction if agreed else 0.0
        elif method in ("adam", "adamw"):
            betas, eps = (
                np.array([[0.8], [0.9]] if method == "adam" else [[0.0], [0.9]]),
                1e-3 if method == "adam" else 1e-8,
            )
            means = betas * means + (1 - betas) * [whole[0], whole[0] ** 2]
            mean, square = means / (1 - betas ** (len(history) + 1))
            direction = mean / (np.sqrt(square) + eps) + (0.1 * weights(model) if method == "adamw" else 0.0)
        elif method == "winsorized":  # c = 20 of six examples: one at each end
            rows = np.sort([gradient(model, inputs[i : i + 1], labels[i : i + 1]) for i in taken[0]], axis=0)
            direction = (2 * rows[1] + rows[2] + rows[3] + 2 * rows[4]) / 6
        else:
            combined = {"sgd": recent[-1], "rm3": np.median(recent, axis=0), "ra3": np.mean(recent, axis=0)}[method]
            direction = combined if method == "sgd" or len(recent) == 3 else 0.0
        set_weights(model, weights(model) - LR * direction)
        history.append(weights(model))
    return history


def mean_loss_of(model):
    return lambda inputs, labels: F.cross_entropy(model(inputs), labels)


SETTINGS = {
    "sgd": {"method": "sgd"},
    "m3": {"method": "m3", "groups": 3},
    "m3_successive": {"method": "m3_successive", "groups": 3},
    "rm3": {"method": "rm3"},
    "ra3": {"method": "ra3"},
    "winsorized": {"method": "winsorized", "c": 20},
    "gradient_agreement": {"method": "gradient_agreement", "groups": 3, "threshold": 1.1},
    "sgd_m3_norm": {"method": "sgd_m3_norm", "groups": 3},
    "sgd_clipped": {"method": "sgd_clipped", "max_norm": MAX_NORM},
    "adam": {"method": "adam", "betas": [0.8, 0.9], "eps": 1e-3},
    "adamw": {"method": "adamw", "betas": [0, 0.9], "weight_decay": 0.1},
}


@pytest.mark.parametrize("method", METHODS)
def test_updates_follow_the_definition(method, data):
    settings = {**SETTINGS[method], "lr": LR}
    inputs, labels = data
    expected = definition(method, inputs, labels, updates=3 if method == "m3_successive" else 5)
    model = network()
    optimizer = make_optimizer(settings, model)
    batches, entry = iter(torch.arange(60).split(6)), METHODS[method]
    for after in expected:
        taken = [next(batches) for _ in range(entry.mini_batches(settings))]
        parts = [part for batch in taken for part in batch.chunk(entry.groups(settings))]
        before = F.cross_entropy(model(inputs[torch.cat(parts)]), labels[torch.cat(parts)]).item()
        loss = optimizer.step_on([(inputs[part], labels[part]) for part in parts], mean_loss_of(model))
        assert weights(model) == pytest.approx(after, rel=1e-10, abs=1e-14)
        assert (loss.item(), loss.shape, loss.requires_grad) == (pytest.approx(before), (), False)


@pytest.mark.parametrize("method", METHODS)
def test_settings_make_the_optimiser_that_they_name(method):
    of_the_loop = {"schedule": {"kind": "constant"}, "start": {"labels": "all_random", "optimizer": "sgd"}}
    optimizer = make_optimizer({**SETTINGS[method], "lr": 0.2, "weight_decay": 0.1, **of_the_loop}, network())
    assert type(optimizer) is class_of(method)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.2, 0.1)


def test_a_method_that_there_is_not_is_one_line():
    with pytest.raises(UserError, match=r"^optimizer\.method: found 'lion', expected one of sgd, m3, .*; choose one$"):
        make_optimizer({"method": "lion", "lr": 1.0}, network())


@pytest.mark.parametrize("method", ["sgd", "rm3", "winsorized", "adam", "adamw"])
def test_a_rate_set_on_the_groups_counts_from_the_next_update(method, data):
    model = network()
    optimizer = make_optimizer({**SETTINGS[method], "lr": LR}, model)
    start = weights(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for _ in range(3):
        optimizer.step_on([data], mean_loss_of(model))
    assert np.array_equal(weights(model), start)


def test_batch_norm_normalises_each_group_of_m3_by_its_own_statistics(data):
    inputs, labels = data
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
    start, parts = weights(model), [(inputs[i : i + 20], labels[i : i + 20]) for i in (0, 20, 40)]
    expected = np.median([gradient(model, *part) for part in parts], axis=0)
    model[1].reset_running_stats()
    make_optimizer({"method": "m3", "lr": 1.0}, model).step_on(parts, mean_loss_of(model))
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
    loss = optimizer.step_on(parts, mean_loss_of(model))
    assert weights(model) == pytest.approx(start - LR * expected)
    assert loss.item() == pytest.approx(before)
