"""Networks that cannot be trained or measured are refused before either, in one line that says what is wrong."""

import sys

import pytest
import torch

from mcoherence.audit import network_checks
from mcoherence.audit.network_checks import NetworkUse, check_network
from mcoherence.errors import UserError

SGD, WINSORIZED = {"method": "sgd", "lr": 0.1}, {"method": "winsorized", "lr": 0.1, "c": 0.1}
# ruff: noqa: E501
# The body of a function (shape, classes) -> network -> what is said of it.
WRONG = {
    "return Of(lambda net, x: net(x - x.mean(0)))": "the model or the loss mixes the examples of a batch",
    "return Of(lambda net, x: net(x + torch.randn_like(x)))": "draws random numbers, even in eval mode",
    "return Of(lambda net, x: F.dropout(net(x)))": "draws random numbers, even in eval mode",
    "return nn.Flatten(0, 2) if shape else None": "found an output of [32, 4] for two images of 4x4x4, expected logits [2, 3]",
    "return Of(lambda net, x: x.flatten(1)[:, :3], nn.Identity())": "found no parameter to train (none)",
    "return Of(lambda net, x: net(x)).requires_grad_(False)": "found no parameter to train (only frozen ones)",
    "return Of(lambda net, x: net(x).detach())": "found that no gradient comes back from the loss",
    "return Of(lambda net, x: net(x) / 0)": "gradients are not finite",
    "return Of(lambda net, x: net(x) if not net.training else x.nosuch)": "found that it fails in train mode (AttributeError",
    "return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))": "found an output of [2, 7] for two images of 4x4x4, expected logits [2, 3]",
    "return nn.Sequential(nn.Flatten(), nn.Linear(65, 3))": "on which it fails (RuntimeError: ",
    "return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))": "expected tensors of known shape, which a checkpoint can hold",
    "return nn.Sequential(nn.Flatten(), nn.Linear(64, 10**12))": "found weights of 260000 GB, expected at most the",
    "return nn.Sequential(nn.BatchNorm2d(4, track_running_stats=False), *layers())": "batch norm without running statistics: 0",
    "raise KeyError('hidden')": "found KeyError: 'hidden' in f, expected none; mend it",
    "return f(shape, classes)": "found RecursionError: maximum recursion depth exceeded",
    "import nosuch": "found ModuleNotFoundError: No module named 'nosuch' in f",
    "sys.exit(0)": "found that it ends Python (sys.exit",
    "return None": "found a NoneType, expected it to return a torch.nn.Module",
    "net = Of(lambda net, x: net(x)); net.register_buffer('b', torch.eye(3).to_sparse()); return net": "found b to be a tensor of layout torch.sparse_coo",
    "net = Of(lambda net, x: net(x)); net.z = nn.Parameter(torch.zeros(2, dtype=torch.complex64)); return net": "found complex numbers in z",
    "net = Of(lambda net, x: net(x)); nn.init.constant_(net.net[1].weight, torch.nan); return net": "found NaN or infinity in net.1.weight",
    "import random; net = Of(lambda net, x: net(x)); nn.init.constant_(net.net[1].bias, random.random()); return net": "found other weights at a second call with the same seed (net.1.bias)",
    "sys.kept = getattr(sys, 'kept', None) or Of(lambda net, x: net(x)); return sys.kept": "found the same network at each call",
    "return Counting()": "buffers that a forward pass changes in eval mode: b",
}  # fmt: skip
RIGHT = (
    "return nn.Sequential(*layers())",
    "net = Of(lambda net, x: net(x)); net.register_buffer('b', torch.randn(1).expand(5)); return net",
    "net = Of(lambda net, x: net(x)); net.more = nn.Linear(3, 3); return net",
)
MODULE = """import sys
import torch
import torch.nn.functional as F
from torch import nn


def layers():
    return [nn.Flatten(), nn.Linear(64, 3)]


class Of(nn.Module):
    def __init__(self, function, *modules):
        super().__init__()
        self.net, self.function = nn.Sequential(*(modules or layers())), function

    def forward(self, x):
        return self.function(self.net, x)


class Counting(Of):
    def __init__(self):
        super().__init__(lambda net, x: net(x))
        self.register_buffer("b", torch.zeros(1))

    def forward(self, x):
        self.b += x.mean()
        return super().forward(x)


def f(shape, classes):
    {body}
"""


def use(architecture="networks_of_mine:f", optimizer=SGD, trained="float32", measured="float64", **settings):
    entry = {"architecture": architecture, **settings}
    return NetworkUse("mine", entry, [4, 4, 4], 3, optimizer, trained, measured)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes the module of a network of the user's own, whose function has this body."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(body):
        (tmp_path / "networks_of_mine.py").write_text(MODULE.replace("{body}", body))
        sys.modules.pop("networks_of_mine", None)
        return tmp_path / "networks_of_mine.py"

    yield write
    vars(sys).pop("kept", None)
    sys.modules.pop("networks_of_mine", None)


@pytest.mark.parametrize(("body", "words"), WRONG.items(), ids=list(WRONG.values()))
def test_a_network_that_cannot_be_trained_or_measured_is_refused_in_a_line(mine, body, words):
    file = mine(body)
    with pytest.raises(UserError) as refused:
        check_network(use())
    assert words in str(refused.value)
    assert str(refused.value).startswith("models.mine: ")
    assert "\n" not in str(refused.value)
    if words.startswith("found KeyError"):
        assert f"{file}:31" in str(refused.value)


@pytest.mark.parametrize("body", RIGHT)
def test_one_that_can_is_taken_and_draws_nothing_from_torchs_generator(mine, body):
    mine(body)
    torch.manual_seed(3)
    check_network(use())
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))


def test_what_an_optimiser_does_not_take_is_refused_for_that_one_alone(mine):
    mine("return nn.Sequential(nn.BatchNorm2d(4), *layers())")
    check_network(use())
    with pytest.raises(UserError, match=r"with the method winsorized: .* found batch norm in training mode"):
        check_network(use(optimizer=WINSORIZED))


def test_a_module_that_cannot_be_imported_is_one_line(mine):
    file = mine("")
    file.write_text("raise ValueError('not today')\n")
    with pytest.raises(UserError, match=rf"^models\.mine: {file}:1: found ValueError: not today in <module>, expected"):
        check_network(use())
    file.write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(UserError, match="found that it ends Python"):
        check_network(use())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"architecture": "cnn", "channels": [3, 4, 5], "hidden": 6}, "found 3 blocks for images of 4x4, expected at most 2"),
        ({"architecture": "inception_v3"}, "inception_v3: found images of 4x4x4, which it does not take"),
    ],
)  # fmt: skip
def test_images_that_a_network_of_the_project_does_not_take_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        check_network(use(optimizer=None, **settings))


def test_a_network_is_tried_in_the_precisions_that_it_is_used_in(mine):
    mine("return Of(lambda net, x: net(x) @ torch.eye(3))")  # which is float32, whatever the images are
    check_network(use(measured="float32"))
    check_network(use(measured=None))
    check_network(use(measured="float32", trained="bfloat16"))
    with pytest.raises(UserError, match=r"cannot be measured on 4 random images in float64 \(RuntimeError: "):
        check_network(use())
    with pytest.raises(UserError, match=r"in train mode \(RuntimeError: .* expected logits in float64"):
        check_network(use(measured=None, trained="float64"))


@pytest.mark.parametrize(
    "entry",
    [
        {"architecture": "deep_mlp", "width": 1000000, "depth": 1000},
        {"architecture": "mlp", "hidden": [1000000, 1000000]},
        {"architecture": "cnn", "channels": [1000000, 1000000], "hidden": 3},
    ],
    ids=lambda entry: entry["architecture"],
)
def test_a_plain_network_without_room_is_named_before_any_of_it_is_made(entry):
    with pytest.raises(UserError, match=r"^models\.large: .*: found weights of \d+ GB, expected at most .* smaller$"):
        check_network(NetworkUse("large", entry, [1, 8, 8], 10, None, "float32", None))


def test_a_network_for_which_the_memory_does_not_do_is_named(monkeypatch):
    def without_room(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000 bytes.")

    monkeypatch.setattr(network_checks, "outline", without_room)
    entry = {"architecture": "mlp", "hidden": [4]}
    with pytest.raises(UserError) as caught:
        check_network(NetworkUse("large", entry, [1, 8, 8], 10, None, "float32", None))
    assert str(caught.value) == (
        "memory: found a machine that has too little, asked for 4000 bytes more; expected room for this job; make the "
        "network models.large smaller, or run it where there is more"
    )
