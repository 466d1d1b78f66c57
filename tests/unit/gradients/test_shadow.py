"""A copy of a model and its loss: what is kept on the copy is not kept on them, and the tensors are the same."""

from collections import OrderedDict, defaultdict
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from mcoherence.gradients.given.shadow import shadow

CE = nn.CrossEntropyLoss(reduction="none")


class Keeping(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.again = self.layer
        self.log, self.places, self.tables = [], {"seen"}, {"a": defaultdict(list), "b": OrderedDict(c=(1, [2]))}
        self.last, self.owner = torch.ones(3), object()
        self.register_buffer("scale", torch.ones(2))
        object.__setattr__(self, "top", self)
        self.scaled = self.times_scale

    def forward(self, x):
        self.last = x
        self.log.append(x)
        self.places.add(len(self.log))
        self.tables["a"]["x"].append(x)
        self.tables["b"]["c"][1].append(x)
        return self.scaled(self.layer(x))

    def times_scale(self, x):
        self.log.append(x)
        return x * self.scale

    def loss(self, outputs, targets):
        self.log.append(outputs)
        return CE(outputs, targets)


def test_what_a_pass_keeps_is_kept_on_the_copy_alone():
    model, x = Keeping(), torch.ones(1, 2)
    copied, loss = shadow(model, model.loss)
    loss(copied(x), torch.tensor([0]))
    assert (model.log, model.places, model.tables["b"]["c"][1]) == ([], {"seen"}, [2])
    assert not model.tables["a"]
    assert model.last.tolist() == [1, 1, 1]
    assert len(copied.log) == 3  # two by methods of the copy: one that it keeps as an attribute, and the loss


def test_tensors_are_shared_and_so_are_objects_that_nothing_is_known_of():
    model = Keeping()
    copied, loss = shadow(model, CE)
    assert loss is not CE
    assert copied.top is copied
    assert copied.again is copied.layer
    assert copied.layer is not model.layer
    for one, other in zip(
        (*model.parameters(), *model.buffers()), (*copied.parameters(), *copied.buffers()), strict=True
    ):
        assert one is other
    assert copied.last is model.last
    assert copied.owner is model.owner


def test_a_loss_with_attributes_has_its_own_and_a_function_is_itself():
    class Loss:
        def __init__(self):
            self.seen, self.inner = [], partial(CE)

        def __call__(self, outputs, targets):
            self.seen.append(outputs)
            return self.inner(outputs, targets)

    loss, function = Loss(), lambda outputs, targets: CE(outputs, targets)
    _, copied = shadow(nn.Linear(2, 2), loss)
    copied(torch.ones(1, 2), torch.tensor([0]))
    assert (len(loss.seen), len(copied.seen)) == (0, 1)
    assert shadow(nn.Linear(2, 2), function)[1] is function


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.LazyLinear(3)),
        lambda: nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(8, 3))),
        lambda: nn.Sequential(nn.Flatten(2), nn.LSTM(4, 3)),
    ],
)
def test_it_computes_the_same(make):
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(5, 2, 2, 2)
    expected = model(x)
    found = shadow(model, CE)[0](x)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
