"""A checkpoint from somebody else: nothing that it names is run, and nothing is built or read as large as it says.

Its seals are right: anybody can make them.
"""

import json

import pytest
import torch
from torch import nn

from mcoherence.errors import UserError
from mcoherence.files.tensors import write_tensors
from mcoherence.models import NetworkSettings, build_model, load_checkpoint, save_checkpoint
from mcoherence.models.checkpoints import FORMAT

SHAPE = (1, 2, 2)
MLP = {"architecture": "mlp", "hidden": [3]}


@pytest.fixture
def checkpoint(tmp_path):
    """A function that writes a checkpoint of an MLP whose metadata say `changed` of the network, and its path."""

    def write(**changed):
        network = {"settings": MLP, "input_shape": list(SHAPE), "num_classes": 2} | changed
        path = tmp_path / "c.safetensors"
        write_tensors(path, build_model(MLP, SHAPE, 2).state_dict(), {"format": FORMAT, "model": json.dumps(network)})
        return path

    return write


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": {"architecture": "subprocess:run", "options": {}}},
        {"settings": {"architecture": "subprocess:call"}, "input_shape": ["sh", "-c", "touch ran"], "num_classes": -1},
        {"settings": {"architecture": "subprocess:Popen", "options": {"shell": True}}},
        {"settings": {"architecture": "module_with_a_top_level:anything"}},
    ],
)
def test_no_code_that_a_file_names_is_run_or_imported(checkpoint, changed, tmp_path, monkeypatch):
    (tmp_path / "module_with_a_top_level.py").write_text("open('ran', 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as refusal:
        load_checkpoint(checkpoint(**changed))
    assert not (tmp_path / "ran").exists()
    assert "\n" not in str(refusal.value)


def test_the_refusal_says_how_to_allow_a_network_of_ones_own(checkpoint):
    path = checkpoint(settings={"architecture": "nets:mine"})
    for own_network in (None, "nets:other"):
        with pytest.raises(UserError, match=r"say load_checkpoint\(path, own_network='nets:mine'\), or let .* config"):
            load_checkpoint(path, own_network)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_classes": 10**12}, "num_classes 1000000000000: expected a number from 1 to 1,000,000"),
        ({"num_classes": -1}, "num_classes -1"),
        ({"num_classes": True}, "num_classes True"),
        ({"num_classes": "2"}, "num_classes '2'"),
        ({"input_shape": [1, 2]}, r"input_shape \[1, 2\]: expected \(C, H, W\)"),
        ({"input_shape": [1, 2, 2.5]}, "input_shape"),
        ({"input_shape": [1, 10**9, 10**9]}, "input_shape"),
        ({"settings": {"architecture": "mlp", "hidden": [10**9]}}, r"in the file, \[1000000000.* in the network"),
        ({"settings": {"architecture": "mlp", "hidden": [10**30]}}, "of which no network can be built"),
        ({"settings": {"architecture": "mlp", "hidden": [-1]}}, "of which no network can be built"),
        ({"settings": {"architecture": "mlp", "hidden": [1] * 2000}}, "expected at most 1000 values"),
        ({"settings": {"architecture": "cnn", "channels": [10**8], "hidden": 10**9}}, "do not fit the network"),
        ({"settings": {"architecture": "mlp", "hidden": [3], "activation": "os.system"}}, "no network can be built"),
        ({"settings": {"architecture": "resnet18", "stem": "x"}}, "stem: found 'x'"),
        ({"settings": {"architecture": "densenet121", "options": {"weights": "DEFAULT"}}}, "found the option weights"),
        ({"settings": {"architecture": "densenet121", "options": {"pretrained": True}}}, "found the option pretrained"),
        ({"settings": {"architecture": "os"}}, "architecture: found 'os'"),
        ({"settings": {"architecture": 3}}, "expected them to name an architecture"),
        ({"settings": ["mlp"]}, "expected them to name an architecture"),
        ({"further": 1}, "expected settings, input_shape and num_classes"),
    ],
)
def test_settings_that_this_project_would_not_write_are_one_line(checkpoint, changed, message):
    with pytest.raises(UserError, match=message) as refusal:
        load_checkpoint(checkpoint(**changed))
    assert str(refusal.value).count("c.safetensors") == 1
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("tensors", "how"),
    [
        ({"hidden1.weight": torch.zeros(3, 5)}, r"hidden1.weight.: \[3, 5\] in the file, \[3, 4\] in the network"),
        ({"hidden1.weight": torch.zeros(3, 4, dtype=torch.int64)}, "hidden1.weight.: I64 in the file"),
        ({"hidden2.weight": torch.zeros(1)}, "hidden2.weight.: its own in the file"),
        ({"output.bias": None}, "output.bias.: none in the file"),
    ],
)
def test_tensors_that_are_not_the_networks_are_refused_by_name(tmp_path, tensors, how):
    path = tmp_path / "c.safetensors"
    network = json.dumps({"settings": MLP, "input_shape": list(SHAPE), "num_classes": 2})
    stored = build_model(MLP, SHAPE, 2).state_dict() | tensors
    stored = {name: value for name, value in stored.items() if value is not None}
    write_tensors(path, stored, {"format": FORMAT, "model": network})
    with pytest.raises(UserError, match=how):
        load_checkpoint(path)


def test_a_network_of_ones_own_in_float64_keeps_every_digit(tmp_path, monkeypatch):
    (tmp_path / "nets_in_float64.py").write_text(
        "from torch import nn\ndef net(s, n): return nn.Sequential(nn.Flatten(), nn.Linear(4, n))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"architecture": "nets_in_float64:net"}
    model = build_model(settings, SHAPE, 2).double()
    nn.init.constant_(model[1].weight, 1 / 3)
    save_checkpoint(tmp_path / "c", model, NetworkSettings(settings, SHAPE, 2), {"step": 0})
    assert torch.equal(load_checkpoint(tmp_path / "c", settings["architecture"])[1].weight, model[1].weight)
