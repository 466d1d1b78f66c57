"""A job that measures runs the code of a user's own network only where its own settings name it."""

import json
import sys

import pytest
import torch

from mcoherence.errors import UserError
from mcoherence.models import NetworkSettings, build_model, save_checkpoint
from workflow_scripts.measuring import job_of, parse_measuring

CODE = "from torch import nn\ndef net(shape, classes): return nn.Sequential(nn.Flatten(), nn.Linear(4, classes))\n"


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    (tmp_path / "nets_of_a_job.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"architecture": "nets_of_a_job:net"}
    model = build_model(settings, (1, 2, 2), 3)
    save_checkpoint(tmp_path / "c.safetensors", model, NetworkSettings(settings, (1, 2, 2), 3), {"step": 0})
    sys.modules.pop("nets_of_a_job")
    yield tmp_path / "c.safetensors", model
    sys.modules.pop("nets_of_a_job", None)


def job(monkeypatch, checkpoint, settings):
    words = ["--settings", json.dumps(settings), "--images", "i", "--labels", "l", "--split", "--result", "r"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *words, "--device", "cpu", "--checkpoints", str(checkpoint)])
    return job_of(parse_measuring(None))


def test_the_settings_of_a_job_name_the_network(checkpoint, monkeypatch):
    path, model = checkpoint
    with pytest.raises(UserError, match="found 'nets_of_a_job:net', code that would have to be run"):
        job(monkeypatch, path, {}).network(path)
    assert "nets_of_a_job" not in sys.modules
    loaded = job(monkeypatch, path, {"own_network": "nets_of_a_job:net"}).network(path)
    assert torch.equal(loaded[1].weight, model[1].weight)
