"""A model goes to eval mode for its measurement and comes back as it was found, whatever its layers do on the way."""

import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics
from mcoherence.gradients.given.eval_mode import eval_mode
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


class Refolding(nn.Module):
    """In eval mode it has one layer made of two, which is a parameter that was not there."""

    def __init__(self, fold):
        super().__init__()
        self.a, self.b, self.fold = nn.Linear(5, 3), nn.Linear(5, 3), fold

    def train(self, mode=True):
        self.fold(self, mode)
        return super().train(mode)

    def forward(self, x):
        return self.a(x) + self.b(x)


def into_a_new_layer(layer, mode):
    layer.folded = None if mode else nn.Linear(5, 3)


def into_another_shape(layer, mode):
    layer.kept = layer.b.weight.data if not mode else layer.kept
    layer.b.weight.data = layer.kept if mode else torch.zeros(3, 0)


def into_a_constant(layer, mode):
    layer.b.requires_grad_(mode)


FOLDED = {
    "a new layer": (into_a_new_layer, "Refolding changes weights when it goes to eval mode"),
    "another shape": (into_another_shape, "Refolding changes weights when it goes to eval mode"),
    "a constant": (
        into_a_constant,
        "parameter '0.b.weight' requires a gradient, and none once",
    ),
}


@pytest.mark.parametrize("name", FOLDED)
def test_what_is_folded_in_eval_mode_is_refused_in_a_line(name):
    fold, message = FOLDED[name]
    model = nn.Sequential(Refolding(fold))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with pytest.raises(UnsupportedModelError, match=message):
        gradient_statistics(model, CE, [(torch.randn(4, 5), torch.arange(4) % 3)])
    assert all(torch.equal(p, before[name]) and p.requires_grad for name, p in model.named_parameters())


def test_a_module_that_does_not_come_back_leaves_the_others_as_they_were():
    class Stuck(nn.Linear):
        def train(self, mode=True):
            if mode:
                raise ValueError("cannot go back")
            return super().train(mode)

    model = nn.Sequential(Stuck(5, 3), nn.Dropout(), nn.BatchNorm1d(3))
    generator = torch.get_rng_state()

    def fails_on_the_way_out():
        with eval_mode(model):
            model[2].running_mean += 1
            torch.rand(1)

    with pytest.raises(ValueError, match="cannot go back"):
        fails_on_the_way_out()
    assert model[1].training
    assert torch.equal(model[2].running_mean, torch.zeros(3))
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_model_that_cannot_go_to_eval_mode_is_refused_in_a_line():
    exported = torch.export.export(nn.Linear(5, 3), (torch.randn(4, 5),)).module()
    with pytest.raises(UnsupportedModelError, match="does not go to eval mode: NotImplementedError"):
        gradient_statistics(exported, CE, [(torch.randn(4, 5), torch.arange(4) % 3)])


def test_what_a_models_own_eval_does_besides_is_not_done():
    class Averaged(nn.Linear):
        def eval(self):
            self.weight.data.mul_(0.5)
            return super().eval()

    layer = Averaged(5, 3)
    before = layer.weight.detach().clone()
    gradient_statistics(layer, CE, [(torch.randn(4, 5), torch.arange(4) % 3)])
    assert torch.equal(layer.weight, before)
    assert layer.training


def test_the_running_values_of_a_loss_are_as_they_were():
    class Running(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.ones(()))

        def forward(self, outputs, targets):
            losses = CE(outputs, targets)
            self.mean = 0.9 * self.mean + 0.1 * losses.mean().detach()
            return losses

    loss_fn = Running()
    gradient_statistics(nn.Linear(5, 3), loss_fn, [(torch.randn(4, 5), torch.arange(4) % 3)])
    assert loss_fn.mean == 1


def test_a_tensor_that_is_made_for_eval_mode_goes_with_it():
    class Folded(nn.Linear):
        """In eval mode it uses its weight times 2, computed once."""

        def __init__(self):
            super().__init__(5, 3)
            self.register_buffer("folded", None)

        def train(self, mode=True):
            self.folded = None if mode else 2 * torch.ones(3)
            return super().train(mode)

        def forward(self, x):
            return super().forward(x) * (2 if self.folded is None else self.folded)

    layer = Folded()
    gradient_statistics(nn.Sequential(layer), CE, [(torch.randn(4, 5), torch.arange(4) % 3)])
    assert layer.training
    assert layer.folded is None
