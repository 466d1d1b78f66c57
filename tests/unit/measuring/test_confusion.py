"""Gradient confusion of fixed mini-batches: drawn once, taken exactly, and put together from blocks."""

import numpy as np
import pytest
import torch
from torch import nn

from mcoherence.measuring.confusion import draw_mini_batches, mini_batch_gram
from mcoherence.models import build_model

SHAPE = (1, 4, 4)


def test_mini_batches_share_no_example_and_are_the_same_again():
    index = draw_mini_batches(20, 3, 6, seed=1)
    assert index.shape == (3, 6)
    assert len(set(index.ravel())) == 18
    assert set(index.ravel()) <= set(range(20))
    assert (np.diff(index, axis=1) > 0).all()
    assert np.array_equal(index, draw_mini_batches(20, 3, 6, seed=1))
    assert not np.array_equal(index, draw_mini_batches(20, 3, 6, seed=2))


def test_a_linear_classifier_by_hand():
    """Logits w x of two classes at w = 0: the gradient of a mini-batch is the mean of (p - onehot) x, p = 1/2."""
    model = nn.Linear(2, 2, bias=False).double()
    nn.init.zeros_(model.weight)
    first = torch.tensor([[2.0, 0.0], [0.0, 4.0]], dtype=torch.float64), torch.tensor([0, 0])
    second = torch.tensor([[2.0, 0.0]], dtype=torch.float64), torch.tensor([1])
    # rows of the gradients: -(1, 2) / 2 and (1, 2) / 2 of the one, (1, 0) and -(1, 0) of the other
    np.testing.assert_allclose(mini_batch_gram(model, [first, second]), [[2.5, -1.0], [-1.0, 2.0]])


def test_batch_norm_normalises_by_the_mini_batch_and_all_else_is_in_eval_mode():
    """Against a network in train mode without dropout, whose gradients are those that SGD would follow."""
    torch.manual_seed(0)
    deep = build_model(
        {"architecture": "deep_mlp", "width": 5, "depth": 3, "batch_norm": True, "skip": True}, SHAPE, 3
    ).double()
    batches = [(torch.randn(6, *SHAPE, dtype=torch.float64), torch.randint(0, 3, (6,))) for _ in range(3)]
    gradients = []
    for inputs, targets in batches:
        deep.train().zero_grad()
        nn.functional.cross_entropy(deep(inputs), targets, reduction="sum").backward()
        gradients.append(torch.cat([p.grad.flatten() for p in deep.parameters()]) / 6)
    expected = [[float(a @ b) for b in gradients] for a in gradients]
    with_dropout = nn.Sequential(deep, nn.Dropout(0.5)).eval()
    np.testing.assert_allclose(mini_batch_gram(with_dropout, batches), expected, rtol=1e-12)


def test_a_parameter_that_nothing_reaches_counts_as_zero():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, inputs):
            return self.used(inputs)

    torch.manual_seed(0)
    model = Idle().eval()
    batch = [(torch.ones(1, 2), torch.tensor([0]))]
    assert mini_batch_gram(model, batch) == pytest.approx(mini_batch_gram(model.used, batch))
