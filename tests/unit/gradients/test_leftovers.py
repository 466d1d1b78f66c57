"""What models and losses keep of a pass by vmap or in float64 is taken away again, wherever they keep it."""

import copy
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass
from functools import partial
from types import MethodType

import pytest
import torch
from torch import nn, vmap

from mcoherence import gradient_statistics
from mcoherence.gradients.given import leftovers
from mcoherence.gradients.given.leftovers import is_double, no_leftovers_on
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.reference import per_example_gradients

CE = nn.CrossEntropyLoss(reduction="none")


@dataclass(slots=True)
class Slotted:
    seen: list
    last: object = None


def closure(seen):
    last = None

    def tell(one):
        nonlocal last
        seen.append(one)
        last = one

    return tell, lambda: last


class Meter:
    latest = None

    def __init__(self):
        self.value = 0


FILE, LATEST, METER = {}, None, Meter()


def keep_in_file(one):
    global LATEST
    FILE["x"], LATEST = one, one
    METER.value = Meter.latest = one


def by_default(one, *, seen=[]):  # noqa: B006 (as users do)
    seen.append(one)


class Keeping(nn.Module):
    """Has a list of its own, and others by every kind of holder."""

    of_class, latest_of_class = [], None

    def __init__(self):
        super().__init__()
        self.log, self.tables, self.places, self.last = [], {"a": defaultdict(list)}, {"seen"}, 0
        self.queue, self.nested, self.slotted = deque([1], maxlen=1), (1, OrderedDict(b=[2])), Slotted([])
        (self.by_closure, self.told), self.by_method = closure(seen := []), seen.append
        self.by_partial = partial(self.tell, seen)
        self.seen = seen
        self.child = nn.Identity()
        self.calls = 0

    def tell(self, seen, one):
        seen.append(one)
        self.last_told = {"within": [one]}

    def keep(self, one):
        self.calls += 1
        self.log.append(one)
        self.log.append(1)
        self.tables["a"]["x"].append(one)
        self.tables["new"] = one
        self.places.add(one)
        self.queue.appendleft(one)
        self.nested[1]["b"][0] = one
        self.slotted.seen.append(one)
        self.slotted.last = one
        for tell in (self.by_closure, self.by_method, self.by_partial, keep_in_file, by_default):
            tell(one)
        self.of_class.append(one)
        type(self).latest_of_class = one
        self.child.last = Slotted([one])

    def forward(self, x):
        self.keep(x)
        keep_in_file(x)
        by_default(x)
        return x


def test_everything_that_holds_a_tensor_of_a_pass_by_vmap_gets_back_what_it_held():
    model = Keeping()
    with no_leftovers_on(model):
        vmap(model)(torch.ones(3, 2))
    assert (model.log, dict(model.tables["a"]), set(model.tables)) == ([], {}, {"a"})
    assert (model.places, list(model.queue), model.nested[1]) == ({"seen"}, [1], {"b": [2]})
    assert (model.slotted, model.seen, model.last, model.told()) == (Slotted([]), [], 0, None)
    assert (FILE, LATEST, by_default.__kwdefaults__, model.of_class) == ({}, None, {"seen": []}, [])
    assert (model.latest_of_class, METER.value, Meter.latest) == (None, 0, None)
    assert [hasattr(model, "last_told"), hasattr(model.child, "last")] == [False, False]


def test_what_others_put_in_meanwhile_stays():
    model = Keeping()
    with no_leftovers_on(model):
        model.keep(1)
    assert (model.calls, model.log, model.last_told) == (1, [1, 1], {"within": [1]})
    for kept in (FILE, model.of_class, by_default.__kwdefaults__["seen"]):
        kept.clear()


def test_it_is_taken_away_between_two_passes_and_after_an_error():
    layer = nn.Linear(2, 2)
    layer.seen = []

    def fails(x):
        layer.seen.append(x)
        raise KeyError

    with pytest.raises(KeyError), no_leftovers_on(layer) as take_away:  # noqa: PT012
        vmap(lambda x: (layer.seen.append(x), x)[1])(torch.ones(3))
        take_away()
        assert layer.seen == []
        vmap(fails)(torch.ones(3))
    assert layer.seen == []


def test_tensors_of_another_dtype_are_taken_away_where_these_are_meant():
    layer = nn.Linear(2, 2)
    layer.seen, layer.table = [], torch.ones(1, dtype=torch.float64)
    before = layer.table
    with no_leftovers_on(layer, of=is_double):
        layer.seen.append(torch.ones(1))
        layer.table = torch.zeros(1, dtype=torch.float64)
    assert len(layer.seen) == 1
    assert layer.table is before


def test_a_table_that_makes_what_it_is_asked_for_is_not_asked():
    class Lazy(OrderedDict):
        def __getitem__(self, key):
            raise AssertionError

        def values(self):
            raise AssertionError

        def items(self):
            raise AssertionError

    layer = nn.Linear(2, 2)
    layer.lazy = Lazy(a=[1])
    with no_leftovers_on(layer):
        pass


def test_a_data_set_that_a_loss_holds_does_not_keep_a_model_from_being_looked_through(monkeypatch):
    monkeypatch.setattr(leftovers, "MOST_ENTRIES", 20)
    monkeypatch.setattr(leftovers, "MOST_OBJECTS", 600)
    data = [[i] for i in range(5000)]
    model = nn.Sequential(*(nn.Identity() for _ in range(20)))
    model[19].seen = []
    with no_leftovers_on(model, lambda outputs, targets: data):
        vmap(lambda x: (model[19].seen.append(x), data.append(x), x)[2])(torch.ones(3))
    assert (model[19].seen, len(data)) == ([], 5000)


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
