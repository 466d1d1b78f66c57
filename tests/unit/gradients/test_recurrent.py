"""Recurrent layers on a GPU: cuDNN has no backward pass in eval mode, so they are in training mode without dropout.

A GPU is pretended: the layers are told that they are on one, and do on the CPU what they would do there.
"""

import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics
from mcoherence.gradients.given import eval_mode
from mcoherence.gradients.reference import per_example_gradients

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")


class Last(nn.Module):
    """A recurrent network of two layers with dropout between them, and after them."""

    def __init__(self, recurrent):
        super().__init__()
        self.recurrent, self.dropout, self.head = recurrent, nn.Dropout(0.5), nn.Linear(5, 3)

    def forward(self, x):
        if self.dropout.training or not self.recurrent.training:
            raise RuntimeError("cudnn RNN backward can only be called in training mode")
        return self.head(self.dropout(self.recurrent(x)[0][:, -1]))


@pytest.fixture(params=[nn.LSTM, nn.GRU, nn.RNN])
def model(request, monkeypatch):
    monkeypatch.setattr(eval_mode, "runs_on_cudnn", lambda module: isinstance(module, nn.RNNBase))
    torch.manual_seed(0)
    return Last(request.param(4, 5, num_layers=2, dropout=0.5, batch_first=True)).double()


def test_they_are_measured_as_in_eval_mode(model):
    inputs, targets = torch.randn(6, 3, 4).double(), torch.arange(6) % 3
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    rows = per_example_gradients(model, PER_EXAMPLE, inputs, targets)
    with torch.no_grad():
        expected = model.head(model.recurrent.eval()(inputs)[0][:, -1])  # the logits in eval mode
    # The bias of the last layer has the gradient softmax(logits) - one_hot(target).
    by_hand = torch.softmax(expected, dim=1) - nn.functional.one_hot(targets, 3)
    torch.testing.assert_close(rows["head.bias"], by_hand, rtol=1e-12, atol=0)
    for name, value in statistics.sum_sq_norm(by="parameter").items():
        assert value == pytest.approx(rows[name].square().sum().item(), rel=1e-10)


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_dropout_are_left_as_found(model, training):
    model.train(training)
    with eval_mode.eval_mode(model):
        assert (model.training, model.dropout.training) == (False, False)
        assert (model.recurrent.training, model.recurrent.dropout) == (True, 0.0)
    assert {module.training for module in model.modules()} == {training}
    assert model.recurrent.dropout == 0.5


def test_on_a_cpu_they_are_in_eval_mode():
    model = nn.LSTM(4, 5)
    with eval_mode.eval_mode(model):
        assert not model.training
