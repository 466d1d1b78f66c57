"""Squared norms and sums against two libraries written elsewhere, BackPACK and Opacus, on what both get right.

Both are given eval mode and a summed loss. Neither is asked for what it gets wrong: padding modes other than zeros,
tied and reused modules, bare parameters.
"""

import warnings

import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")

MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 5), nn.Sigmoid(), nn.Linear(5, 4)), (6,)),
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 6, (2, 3), bias=False), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 4),
        ),
        (3, 10, 12),
    ),
    "conv-large-map": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(8),
            nn.Flatten(), nn.Linear(36, 4),
        ),
        (2, 24, 24),
    ),
    "conv1d": (
        lambda: nn.Sequential(nn.Conv1d(3, 5, 4, dilation=2), nn.Tanh(), nn.Flatten(), nn.Linear(30, 4)), (3, 12),
    ),
    "groups-and-norms": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 3, groups=2, padding=1), nn.GroupNorm(2, 8), nn.Tanh(), nn.Flatten(), nn.LayerNorm(200),
            nn.Linear(200, 4),
        ),
        (4, 5, 5),
    ),
    "embedding": (lambda: nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 5), nn.Flatten(), nn.Linear(35, 4)), None),
}  # fmt: skip
BACKPACK = ("mlp", "conv", "conv-large-map", "conv1d")
OPACUS = tuple(MODELS)


def problem(name):
    torch.manual_seed(0)
    build, shape = MODELS[name]
    inputs = torch.randint(0, 9, (5, 7)) if shape is None else torch.randn(5, *shape).double()
    return build().double().eval(), inputs, torch.randint(0, 4, (5,))


def assert_equal(statistics, squared_norms, sums):
    """Against {name: sum_i |g_i|^2} and {name: sum_i g_i}."""
    assert statistics.sum_sq_norm(by="parameter") == pytest.approx(squared_norms, rel=1e-10)
    norms = {name: float(value.square().sum()) for name, value in sums.items()}
    assert statistics.sq_norm_of_sum(by="parameter") == pytest.approx(norms, rel=1e-10)


@pytest.mark.parametrize("name", BACKPACK)
def test_equal_to_backpack(name):
    from backpack import backpack, extend
    from backpack.extensions import BatchL2Grad

    model, inputs, targets = problem(name)
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    extended, loss_fn = extend(model), extend(nn.CrossEntropyLoss(reduction="sum"))
    with backpack(BatchL2Grad()):
        loss_fn(extended(inputs), targets).backward()
    peers = dict(extended.named_parameters())
    assert_equal(
        statistics,
        {name: float(p.batch_l2.sum()) for name, p in peers.items()},
        {name: p.grad for name, p in peers.items()},
    )


@pytest.mark.parametrize("name", OPACUS)
def test_equal_to_opacus(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.grad_sample import GradSampleModule

    model, inputs, targets = problem(name)
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = GradSampleModule(model, loss_reduction="sum")
        wrapped.train()  # in eval mode its hooks do nothing; no layer here behaves differently in train mode
        PER_EXAMPLE(wrapped(inputs), targets).sum().backward()
    rows = {name: p.grad_sample for name, p in model.named_parameters()}
    assert_equal(
        statistics,
        {name: float(value.square().sum()) for name, value in rows.items()},
        {name: value.sum(dim=0) for name, value in rows.items()},
    )
