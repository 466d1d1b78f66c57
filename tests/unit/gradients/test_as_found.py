"""What models and losses keep of a pass by vmap is taken away again, wherever they keep it."""

import copy
import weakref
from collections import OrderedDict, defaultdict, deque
from functools import partial
from types import MethodType

import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics
from mcoherence.gradients.given import as_found
from mcoherence.gradients.given.as_found import left_as_found
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.reference import per_example_gradients

CE = nn.CrossEntropyLoss(reduction="none")


class Slotted:
    __slots__ = ("seen",)

    def __init__(self):
        self.seen = []


def closure(seen):
    return lambda one: seen.append(one)


class Keeping(nn.Module):
    """Has a list of its own, and others by every kind of holder."""

    def __init__(self):
        super().__init__()
        self.log, self.tables, self.places, self.last = [], {"a": defaultdict(list)}, {"seen"}, 0
        self.queue, self.nested, self.slotted = deque([1]), (1, OrderedDict(b=[2])), Slotted()
        self.by_closure, self.by_method, self.by_partial = closure(seen := []), seen.append, partial(self.tell, seen)
        self.seen = seen
        self.child = nn.Identity()
        self.child.parent = weakref.ref(self)

    def tell(self, seen, one):
        seen.append(one)
        self.told = one

    def keep(self):
        self.log.append(1)
        self.log[0] = 7
        self.tables["a"]["x"].append(1)
        self.tables["new"] = 1
        self.places.add(2)
        self.queue.appendleft(3)
        self.nested[1]["b"].clear()
        self.slotted.seen.append(1)
        for tell in (self.by_closure, self.by_method, self.by_partial):
            tell(1)
        self.child.parent().last = 9
        del self.child.parent


def test_everything_that_holds_things_gets_back_what_it_held():
    model = Keeping()
    parent = model.child.parent
    with left_as_found(model):
        model.keep()
    assert (model.log, dict(model.tables["a"]), set(model.tables)) == ([], {}, {"a"})
    assert (model.places, list(model.queue), model.nested[1]) == ({"seen"}, [1], {"b": [2]})
    assert (model.slotted.seen, model.seen, model.last) == ([], [], 0)
    assert not hasattr(model, "told")
    assert model.child.parent is parent


def test_it_does_so_after_an_error():
    kept = []

    def fails():
        with left_as_found({"a": kept}):
            kept.append(1)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert kept == []


def test_what_is_not_changed_is_not_written_to():
    class Watched(dict):
        def __setitem__(self, key, value):
            raise AssertionError

    with left_as_found(Watched(a=[1])):
        pass


def test_of_a_data_set_of_millions_some_are_looked_through(monkeypatch):
    monkeypatch.setattr(as_found, "MOST_OBJECTS", 10)
    first, others = [], [[i] for i in range(100)]
    with left_as_found(others, first):
        first.append(1)
        others.pop()
    assert (first, len(others)) == ([], 100)


class Rows(nn.Module):
    """A layer without a rule that keeps what it saw, by a hook, an attribute and a table of sizes."""

    def __init__(self):
        super().__init__()
        self.limit, self.seen, self.sizes = nn.Parameter(torch.randn(6)), [], {}
        self.register_buffer("one", torch.ones(()))

    def forward(self, x):
        self.last = x.detach().roll(1, 1)
        self.seen.append(x.detach())
        self.sizes.setdefault(len(x), x.detach()[:1] * 0 + 1)
        return torch.minimum(x, self.limit) * self.one


def used(model):
    """Whatever it kept can be computed with, and so can the model, with any number of examples."""
    assert all(torch.isfinite(one).all() for one in (*model[1].seen, *model[1].sizes.values(), model[1].last))
    assert model(torch.randn(1, 6, dtype=torch.float64)).shape == (1, 3)
    copy.deepcopy(model)


@pytest.mark.parametrize("times", [1, 2], ids=["by its call", "through the whole model"])
def test_a_model_is_whole_after_its_layers_were_run_for_each_example(times):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), Rows(), *([nn.Tanh()] * (times - 1)), nn.Linear(6, 3)).double()
    if times == 2:
        model[2] = model[1]  # called twice
    inputs, targets = torch.randn(8, 6, dtype=torch.float64), torch.arange(8) % 3
    found = gradient_statistics(model, CE, [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])])
    for name, rows in per_example_gradients(model, CE, inputs, targets).items():
        assert found.sum_sq_norm(by="parameter")[name] == pytest.approx(float(rows.square().sum()), rel=1e-10)
    used(model)


class ByHook(nn.Module):
    """Its hook leaves a mean of the batch for flagged examples: of the look at all examples it has to be theirs."""

    def __init__(self, make):
        super().__init__()
        self.first, self.layer, self.mean = nn.Identity(), nn.Linear(5, 3), 0
        make(self)

    def keep(self, module, args, output):
        self.mean = output.mean(0)

    def forward(self, x):
        x = self.first(x)
        return self.layer(torch.where(x[:, 4:] > 1.2, x - self.mean, x))


HOOKS = {
    "method": lambda m: m.first.register_forward_hook(m.keep),
    "function": lambda m: m.first.register_forward_hook(lambda *given: m.keep(*given)),
    "partial": lambda m: m.first.register_forward_hook(partial(m.keep)),
    "patched": lambda m: setattr(
        m.first, "forward", MethodType(lambda first, x: (m.keep(first, (x,), x), x)[1], m.first)
    ),
}


@pytest.mark.parametrize("name", HOOKS)
def test_what_hooks_leave_in_the_look_at_all_examples_is_of_each(name):
    torch.manual_seed(0)
    x = torch.randn(64, 5, dtype=torch.float64)
    x[:, 4].clamp_(max=1.0)
    x[40, 4] = 2.0
    with pytest.raises(UnsupportedModelError, match="the loss of example 40 of a batch of 64"):
        gradient_statistics(ByHook(HOOKS[name]).double(), CE, [(x, torch.arange(64) % 3)])


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
