"""A model goes to eval mode for its measurement and comes back as it was found, whatever its layers do on the way."""

import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics
from mcoherence.gradients.given.refusal import UnsupportedModelError

CE = nn.CrossEntropyLoss(reduction="none")


class Merging(nn.Module):
    """A layer with low-rank weights that it merges when it goes to eval mode."""

    def __init__(self, by_data):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 5), requires_grad=False)
        self.up, self.down = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(2, 5))
        self.merged, self.by_data = False, by_data

    def train(self, mode=True):
        super().train(mode)
        if mode == self.merged:
            added = (self.up @ self.down).detach() * (-1 if mode else 1)
            with torch.no_grad():
                (self.weight.data if self.by_data else self.weight).add_(added)
            self.merged = not mode
        return self

    def forward(self, x):
        found = x @ self.weight.T
        return found if self.merged else found + x @ self.down.T @ self.up.T


@pytest.mark.parametrize("by_data", [True, False])
def test_layers_that_merge_weights_in_eval_mode_are_refused_and_as_they_were(by_data):
    torch.manual_seed(0)
    layer = Merging(by_data)
    before = layer.weight.clone()
    with pytest.raises(UnsupportedModelError, match="Merging changes weights when it goes to eval mode"):
        gradient_statistics(nn.Sequential(layer), CE, [(torch.randn(4, 5), torch.arange(4) % 3)])
    assert (layer.training, layer.merged) == (True, False)
    assert torch.equal(layer.weight, before)


class Switching(nn.Linear):
    """Goes another way in eval mode, which it begins and ends when it is told of the mode."""

    fast = False

    def train(self, mode=True):
        self.fast = not mode
        return super().train(mode)


@pytest.mark.parametrize("training", [True, False])
def test_what_a_layer_begins_for_eval_mode_it_ends(training):
    layer = Switching(5, 3).train(training)
    found = gradient_statistics(nn.Sequential(layer), CE, [(torch.randn(4, 5), torch.arange(4) % 3)])
    assert (layer.training, layer.fast) == (training, not training)
    assert found.evidence.parameters_covered == 18
