"""The advice on networks, their checkpoints and their training: what was refused works once it was done."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mcoherence import load_checkpoint
from mcoherence.audit.network_checks import NetworkUse, check_network
from mcoherence.errors import UserError
from mcoherence.files.tensors import write_tensors
from mcoherence.models import build_model
from mcoherence.models.checkpoints import FORMAT, NetworkSettings, save_checkpoint
from mcoherence.training.lock import only_trainer
from mcoherence.training.loop import fitting
from mcoherence.training.ranks import Ranks, device_of_rank, with_shared_statistics
from mcoherence.training.resume import writing_below
from mcoherence.training.state import FORMAT as STATE_FORMAT
from mcoherence.training.state import TrainingState, read_state, write_state
from mcoherence.training.updates import check_sizes
from tests.remedies.following import cases_of, follow, follows

MODULE = """
import random
import sys

import torch
from torch import nn


class Of(nn.Module):
    def __init__(self, function, *modules):
        super().__init__()
        self.net, self.function = nn.Sequential(nn.Flatten(), *(modules or [nn.Linear(64, 3)])), function

    def forward(self, x):
        return self.function(self.net, x)


def plain(net, x):
    return net(x)


kept = []


def f(shape, classes):
    BODY
"""
NETWORKS = [  # message, a function's body that is refused, and one that is as the message says
    ("{}: found the same network at each call, expected a new one; build it inside of the function, and keep",
     "kept.append(Of(plain)); return kept[0]", "return Of(plain)"),
    ("{}: found other weights at a second call with the same seed ({}), expected the same; draw them with torch alone",
     "net = Of(plain); nn.init.constant_(net.net[1].bias, random.random()); return net",
     "net = Of(plain); nn.init.constant_(net.net[1].bias, torch.rand(1).item()); return net"),
    ("{}: found weights of {} GB, expected at most the {} GB of memory that this machine has; make the network smaller",
     "return Of(plain, nn.Linear(64, 10**12))", "return Of(plain, nn.Linear(64, 3))"),
    ("{}: found no parameter to train ({}), expected one at least; let the network have layers with weights, and",
     "return Of(plain).requires_grad_(False)", "return Of(plain).requires_grad_(False).requires_grad_()"),
    ("{}: found a sparse gradient of {}, expected dense ones for {}; build its layer with sparse=False",
     "return Of(lambda net, x: net[1](net[0](x)) + net[2](torch.zeros(len(x), 1, dtype=int)).sum(1),"
     " nn.Linear(64, 3), nn.Embedding(2, 3, sparse=True))",
     "return Of(lambda net, x: net[1](net[0](x)) + net[2](torch.zeros(len(x), 1, dtype=int)).sum(1),"
     " nn.Linear(64, 3), nn.Embedding(2, 3, sparse=False))"),
    ("{}: found that it ends Python (sys.exit, {}), expected a module that only says what there is; put what runs",
     "sys.exit(0)", "return Of(plain)\n\n\nif __name__ == '__main__':\n    sys.exit(0)"),
    ("{}: found complex numbers in {}, expected real ones, which a checkpoint holds; keep two",
     "net = Of(plain); net.z = nn.Parameter(torch.zeros(2, dtype=torch.complex64)); return net",
     "net = Of(plain); net.re, net.im = (nn.Parameter(torch.zeros(2)) for _ in range(2)); return net"),
    ("{}: found that it fails in train mode ({}), expected logits in {}; mend the network",
     "return Of(lambda net, x: net(x) if not net.training else x.nosuch)", "return Of(plain)"),
    ("{}: found that no gradient comes back from the loss ({}), expected one for its parameters; look for detach()",
     "return Of(lambda net, x: net(x).detach())", "return Of(plain)"),
    ("{}: found that it cannot be measured on {} random images in {} ({}), expected gradients of single examples; let",
     "return Of(lambda net, x: net(x) @ torch.eye(3))", "return Of(lambda net, x: net(x) @ torch.eye(3).to(x.dtype))"),
    ("{}: found {} of type {} in its state_dict, expected tensors of known shape, which a checkpoint can hold; give",
     "return Of(plain, nn.LazyLinear(3))", "return Of(plain, nn.Linear(64, 3))"),
    ("{}: found {} to be a tensor of layout {} and type {}, expected a dense one of a type that a checkpoint can hold",
     "net = Of(plain); net.register_buffer('b', torch.eye(3).to_sparse()); return net",
     "net = Of(lambda net, x: net(x)); net.register_buffer('b', torch.eye(3).to_sparse().to_dense()); return net"),
    ("{}: found images of {}, on which it fails ({}); expected logits [2, {}] for two of them; mend the network",
     "return Of(plain, nn.Linear(65, 3))", "return Of(plain, nn.Linear(64, 3))"),
    ("{}: found an output of {} for two images of {}, expected logits [2, {}]; let the network return one row of",
     "return Of(plain, nn.Linear(64, 7))", "return Of(plain, nn.Linear(64, classes))"),
    ("subtract_initial_output: found a network that draws random numbers in training, of which its initial copy would",
     "return Of(plain, nn.Dropout(0.5), nn.Linear(64, 3))", "return Of(plain, nn.Dropout(0.0), nn.Linear(64, 3))"),
]  # fmt: skip


def use(architecture="networks_followed:f", method="rm3", **settings):
    entry, optimizer = {"architecture": architecture, **settings}, {"method": method, "lr": 0.1}
    return NetworkUse("mine", entry, [4, 4, 4], 3, optimizer, "float32", "float64")


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Checks the user's network whose function has this body."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(body, **settings):
        (tmp_path / "networks_followed.py").write_text(MODULE.replace("BODY", body))
        sys.modules.pop("networks_followed", None)
        check_network(use(**settings))

    yield written
    sys.modules.pop("networks_followed", None)


@pytest.mark.parametrize(("message", "wrong", "right"), NETWORKS, ids=[message[:60] for message, *_ in NETWORKS])
def test_a_network_as_the_message_says_is_trained_and_measured(check, message, wrong, right):
    settings = {"subtract_initial_output": True} if message.startswith("subtract") else {}

    def steps():
        for body in (wrong, right):
            yield lambda body=body: check(body, **settings)

    follow(message, steps, None)


@follows(
    "{}: found {} blocks for images of {}x{}, expected at most {}, because each halves the image; give fewer channels"
)
def too_many_blocks():
    yield lambda: check_network(use("cnn", channels=[3, 4, 5], hidden=6))
    yield lambda: check_network(use("cnn", channels=[3, 4], hidden=6))


@follows("{}: found the option {}, expected none of {}: weights are random, nothing is downloaded, and the number of")
def an_option_that_is_none():
    small = {"architecture": "mnasnet0_5", "options": {"weights": "DEFAULT"}}
    yield lambda: build_model(small, (3, 32, 32), 3)
    yield lambda: build_model({"architecture": "mnasnet0_5"}, (3, 32, 32), 3)


def test_dropout_of_training_alone_is_found_before_the_training_of_torchvisions_networks_too():
    settings = {"architecture": "mnasnet0_5", "subtract_initial_output": True}
    asked = NetworkUse("mine", settings, [3, 32, 32], 3, None, "float32", None)
    with pytest.raises(UserError, match=r"^models\.mine: subtract_initial_output: .* set its dropout"):
        check_network(asked)
    check_network(replace(asked, settings={**settings, "options": {"dropout": 0.0}}))


# Checkpoints and states

SHAPE, MLP = (1, 2, 2), {"architecture": "mlp", "hidden": [3]}
NETWORK = {"settings": MLP, "input_shape": list(SHAPE), "num_classes": 2}


def write(path, network=NETWORK, **metadata):
    said = {"format": FORMAT, "model": json.dumps(network)} | metadata
    write_tensors(path, build_model(MLP, SHAPE, 2).state_dict(), said)


CHECKPOINTS = [
    ("{}: not a checkpoint of this project (format {}, expected 'mcoherence/checkpoint/2'); expected one that the",
     lambda path: write(path, format="other")),
    ("{}: found metadata that are no JSON ({}), expected a checkpoint; {}", lambda path: write(path, model="{")),
    ("{}: found {}, as a checkpoint of this project has; do not use this file",
     lambda path: write(path, NETWORK | {"num_classes": -1})),
    ("{}: found settings {}, of which no network can be built ({}); expected those of a checkpoint of this",
     lambda path: write(path, NETWORK | {"settings": MLP | {"hidden": [-1]}})),
    ("{}: found weights that do not fit the network that {} builds now ({}); expected the network that was trained;",
     lambda path: write(path, NETWORK | {"settings": MLP | {"hidden": [5]}})),
    ("{}: not found, expected a {}; look at the path, or run again", lambda path: None),
    ("{}: not a {} of this project ({}); {}", lambda path: save_file({}, path)),
    ("{}: unreadable, {}; {}", lambda path: flipped(path)),
    ("expected a {}; {}", lambda path: path.write_bytes(b"no checkpoint")),
]  # fmt: skip


def flipped(path):
    write(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("message", "damage"), CHECKPOINTS, ids=[message[:60] for message, _ in CHECKPOINTS])
def test_a_checkpoint_that_is_made_again_is_read(tmp_path, message, damage):
    """As the rule train does once the file is gone; that it then runs, tests/workflow/test_remedies.py asks."""
    path = tmp_path / "step3.safetensors"
    damage(path)

    def steps():
        yield lambda: load_checkpoint(path)
        path.unlink(missing_ok=True)
        save_checkpoint(path, build_model(MLP, SHAPE, 2), NetworkSettings(MLP, SHAPE, 2), {"step": 3})
        yield lambda: load_checkpoint(path)

    follow(message, steps, None)


@follows("{}: found {}, code that would have to be run for this network, expected what the caller names")
def a_network_of_ones_own(tmp_path, monkeypatch):
    code = "from torch import nn\ndef net(s, n): return nn.Sequential(nn.Flatten(), nn.Linear(4, n))\n"
    (tmp_path / "nets_followed.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    own = {"architecture": "nets_followed:net"}
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, build_model(own, SHAPE, 2), NetworkSettings(own, SHAPE, 2), {"step": 3})
    yield lambda: load_checkpoint(path)
    yield lambda: load_checkpoint(path, own_network="nets_followed:net")


@pytest.mark.parametrize(
    ("message", "damage"),
    [
        ("{}: not a training state of this project (format {}, expected 'mcoherence/training-state/2'); expected one",
         lambda path: write_tensors(path, {"w": torch.ones(1)}, {"format": "other"})),
        ("{}: unreadable ({}); expected a training state; {}",
         lambda path: write_tensors(path, {"w": torch.ones(1)}, {"format": STATE_FORMAT, "state": "{}"})),
    ],
)  # fmt: skip
def test_a_state_that_is_made_again_is_read(tmp_path, message, damage):
    path = tmp_path / "update3.safetensors"
    damage(path)

    def steps():
        yield lambda: read_state(path)
        path.unlink()
        write_state(path, TrainingState(3, {"w": torch.ones(1)}))
        yield lambda: read_state(path)

    follow(message, steps, None)


# The machine


@follows("{}: another trainer of this run is at work ({}), expected none; wait for it or end it, then run again")
def another_trainer(tmp_path):
    def trained():
        with only_trainer(tmp_path / "lock", seconds=0.1):
            pass

    def meanwhile():
        with only_trainer(tmp_path / "lock"):
            trained()

    yield meanwhile
    yield trained


@follows("{}: could not be written ({}), {}; training goes on from the last state that was kept")
def no_room(tmp_path):
    folder = tmp_path / "state"
    folder.write_text("")

    def written():
        with writing_below(folder):
            (folder / "update3").write_text("")

    yield written  # Not a directory, here
    folder.unlink()
    folder.mkdir()
    yield written


@follows("expected that it can be; make room and run again")
def no_room_for_another_reason(tmp_path):
    room = []

    def written():
        with writing_below(tmp_path):
            if not room:
                raise OSError("the disk took part of a state only")

    yield written
    room.append("made")
    yield written


@follows("operational.ranks: found {} on {}, expected 1 for a network with batch norm, whose statistics torch shares")
def batch_norm_on_two_processors():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
    yield lambda: with_shared_statistics(model, torch.device("cpu"), Ranks(0, 2))
    yield lambda: with_shared_statistics(model, torch.device("cpu"), Ranks(0, 1))
    yield lambda: with_shared_statistics(model, torch.device("cuda"), Ranks(0, 2))


@follows("operational.ranks: found {}, expected at most the {} GPUs of this machine; lower it")
def more_ranks_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "3"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    yield lambda: device_of_rank(torch.device("cuda"))
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    yield lambda: device_of_rank(torch.device("cuda"))


@follows("training.batch_size: found {}, which leaves a last mini-batch of {} out of {} examples, expected at least {}")
def a_last_batch_too_small_for_the_ranks():
    def checked(batch_size, ranks):
        check_sizes(SimpleNamespace(batch_size=batch_size, groups=1), 61, Ranks(0, ranks))

    yield lambda: checked(20, 2)
    yield lambda: checked(30, 1)
    yield lambda: checked(25, 2)


@follows(
    "the state to go on from: found one that does not fit this run's {} ({}), expected that of the same run; delete"
)
def a_state_of_another_network(tmp_path):
    model = nn.Linear(2, 2)
    path = tmp_path / "state/update3.safetensors"
    path.parent.mkdir()
    write_state(path, TrainingState(3, nn.Linear(3, 2).state_dict()))

    def begun():
        if path.is_file():  # else from fresh weights, as Snakemake has the run trained whose state is gone
            with fitting("network"):
                model.load_state_dict(read_state(path).model)

    yield begun
    path.unlink()
    path.parent.rmdir()
    yield begun


@cases_of(__name__)
def test_the_advice_is_followed(message, case, request):
    follow(message, case, request)
