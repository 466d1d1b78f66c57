"""Sums against the Gramian of TorchJD, which forms inner products of gradients and neither rows nor sums.

With G[i, j] = g_i . g_j: Q_a = sum of G[i, i] over the examples of group a, and S_a . S_b = sum of G[a, b].
"""

import numpy as np
import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics

autogram = pytest.importorskip("torchjd.autogram")

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")


def shared_layer():
    shared = nn.Linear(6, 6)
    return nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(6, 4))


class Siamese(nn.Module):
    """Calls a stack of layers twice, and holds a parameter of its own that no call of a layer accounts for."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))
        self.scale = nn.Parameter(torch.randn(4))

    def forward(self, x):
        return self.body(x) * self.body(x.cos()) * self.scale.exp()


# name: (model, shape of an example or None for token numbers, how TorchJD goes over the batch)
MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 5), nn.Sigmoid(), nn.Linear(5, 4)), (6,), 0),
    "convolutions-and-norms": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, (2, 3), groups=2),
            nn.GroupNorm(2, 6), nn.Flatten(), nn.Linear(96, 4),
        ),
        (3, 10, 12),
        None,
    ),
    "transposed-convolution": (
        lambda: nn.Sequential(
            nn.ConvTranspose1d(3, 4, 3), nn.Tanh(), nn.InstanceNorm1d(4, affine=True), nn.Flatten(), nn.Linear(32, 4)
        ),
        (3, 6),
        0,
    ),
    "transformer": (
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True), nn.Flatten(), nn.Linear(18, 4)
        ),
        (3, 6),
        0,
    ),
    "embedding": (
        lambda: nn.Sequential(
            nn.Embedding(9, 6), nn.LayerNorm(6), nn.Linear(6, 5), nn.PReLU(), nn.Flatten(), nn.Linear(35, 4)
        ),
        None,
        0,
    ),
    "layer-used-twice": (shared_layer, (6,), 0),
    "siamese-and-bare-parameter": (Siamese, (6,), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_equal_to_the_gramian_of_torchjd(name):
    torch.manual_seed(0)
    build, shape, batch_dim = MODELS[name]
    model = build().double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    inputs = torch.randint(0, 9, (6, 7)) if shape is None else torch.randn(6, *shape).double()
    targets, ids = torch.randint(0, 4, (6,)), torch.tensor([0, 1, 1, 0, 1, 1])
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets, ids)], groups=["few", "many"])
    model.eval()
    engine = autogram.Engine(model, batch_dim=batch_dim)
    gramian = engine.compute_gramian(PER_EXAMPLE(model(inputs), targets))
    members = torch.stack([ids == 0, ids == 1]).double()
    assert np.allclose(statistics.gram.sum(axis=-1), (members @ gramian @ members.T).numpy(), rtol=1e-12)
    assert np.allclose(statistics.sum_sq_norms.sum(axis=-1), (members @ gramian.diag()).numpy(), rtol=1e-12)
