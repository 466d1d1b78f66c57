"""Networks by name, and checkpoints that come back as they were saved."""

import pytest
import torch
from torch import nn

from mcoherence import load_checkpoint
from mcoherence.errors import UserError
from mcoherence.models import build_model, read_checkpoint_metadata, save_checkpoint

CNN = {"architecture": "cnn", "channels": [2, 3], "hidden": 4, "batch_norm": True}
SHAPE = (1, 8, 8)


def names(model):
    return [name for name, module in model.named_modules() if list(module.parameters(recurse=False))]


def test_mlp_layers_and_size():
    model = build_model({"architecture": "mlp", "hidden": [5, 6]}, SHAPE, 10)
    assert names(model) == ["hidden1", "hidden2", "output"]
    assert sum(p.numel() for p in model.parameters()) == (64 * 5 + 5) + (5 * 6 + 6) + (6 * 10 + 10)
    assert model(torch.zeros(3, *SHAPE)).shape == (3, 10)


def test_cnn_layers_and_size():
    model = build_model(CNN, SHAPE, 10)
    assert names(model) == ["conv1", "bn1", "conv2", "bn2", "hidden", "output"]
    convolutions = 9 * 2 + 2 * 2 + 9 * 2 * 3 + 2 * 3  # no bias where batch norm follows
    assert sum(p.numel() for p in model.parameters()) == convolutions + (3 * 2 * 2 * 4 + 4) + (4 * 10 + 10)
    assert model(torch.zeros(3, *SHAPE)).shape == (3, 10)


def test_cnn_without_batch_norm_has_biases():
    assert names(build_model(CNN | {"batch_norm": False}, SHAPE, 10)) == [
        "conv1",
        "conv2",
        "hidden",
        "output",
    ]


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = build_model(CNN, SHAPE, 10)
    model(torch.randn(20, *SHAPE))  # running statistics move
    path = tmp_path / "step3.safetensors"
    save_checkpoint(path, model, CNN, SHAPE, 10, {"step": 3, "epoch": 0.5, "run": {"seed": 1}})
    return model, path


def test_a_checkpoint_comes_back_in_eval_mode_with_every_weight_and_buffer(saved):
    model, path = saved
    loaded = load_checkpoint(path)
    assert not any(module.training for module in loaded.modules())
    assert model.state_dict().keys() == loaded.state_dict().keys()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in loaded.state_dict().items())
    inputs = torch.randn(2, *SHAPE)
    assert torch.equal(loaded(inputs), model.eval()(inputs))


def test_a_checkpoint_says_what_it_holds(saved):
    metadata = read_checkpoint_metadata(saved[1])
    assert metadata["model"] == {"settings": CNN, "input_shape": [1, 8, 8], "num_classes": 10}
    assert (metadata["step"], metadata["epoch"], metadata["run"]) == (3, 0.5, {"seed": 1})


def test_equal_weights_give_equal_bytes(saved, tmp_path):
    model, path = saved
    again = tmp_path / "other_name.safetensors"
    save_checkpoint(again, model, CNN, SHAPE, 10, {"run": {"seed": 1}, "epoch": 0.5, "step": 3})
    assert path.read_bytes() == again.read_bytes()


def test_loading_does_not_disturb_the_generator(saved):
    state = torch.get_rng_state()
    load_checkpoint(saved[1])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all"])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.safetensors: unreadable"):
        load_checkpoint(path)


def test_a_missing_or_foreign_checkpoint_is_refused(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(UserError, match=r"gone\.safetensors: unreadable"):
        load_checkpoint(tmp_path / "gone.safetensors")
    save_file(nn.Linear(2, 2).state_dict(), tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match="not a checkpoint of this project"):
        load_checkpoint(tmp_path / "foreign.safetensors")
