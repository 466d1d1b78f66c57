"""A user's own network in the workflow: trained like any other, and again when, and only when, its code changes."""

import pytest

from mcoherence import load_checkpoint

pytestmark = pytest.mark.slow

NETWORK = """from torch import nn


def linear(input_shape, num_classes, bias=True):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes, bias=bias))
"""
STUDY = """
study: miniature
models:
  mlp: {architecture: mlp, hidden: [4]}
  mine: {architecture: "nets.mine:linear", options: {bias: false}}
datasets: {digits: {source: digits, train_size: 120}}
training: {updates: 3, batch_size: 20, checkpoints: {every_step_until: 0, per_doubling: 1}}
label_noise: {models: [mlp, mine], labels: [clean], optimizers: [sgd], seeds: [0]}
easy_hard: {models: [mlp], reference_seeds: [0], seeds: [10]}
"""
RUNS = {model: f"results/miniature/runs/digits/{model}/clean/sgd/full/seed0" for model in ("mlp", "mine")}
LOGS = [f"{run}/training_log.csv" for run in RUNS.values()]


def test_an_own_network_is_trained_again_when_its_code_changes(workflow_copy, monkeypatch):
    folder = workflow_copy.folder
    (folder / "miniature.yaml").write_text(STUDY)
    (folder / "nets").mkdir()
    module = folder / "nets/mine.py"

    absent = workflow_copy.run("--dry-run", "--quiet", "all", "--", *LOGS)
    assert absent.returncode == 1
    assert "error: models.mine.architecture: found 'nets.mine:linear', but no nets/mine.py" in absent.stdout
    assert not (folder / "results").exists()

    module.write_text(NETWORK)
    answer = workflow_copy.run("--cores", "2", "--quiet", "reason", "--", *LOGS)
    assert answer.returncode == 0, answer.stdout[-5000:]
    monkeypatch.syspath_prepend(folder)
    checkpoint = folder / RUNS["mine"] / "checkpoints/step3.safetensors"
    names = dict(load_checkpoint(checkpoint, own_network="nets.mine:linear").named_parameters())
    assert {name: tuple(p.shape) for name, p in names.items()} == {"1.weight": (10, 64)}
    assert workflow_copy.planned(*LOGS) == {}

    module.write_text("# A comment.\n" + NETWORK)
    assert workflow_copy.planned(*LOGS) == {}
    module.write_text(NETWORK.replace("bias=bias)", "bias=not bias)"))
    assert workflow_copy.planned(*LOGS) == {"train": 1}
    assert workflow_copy.planned(LOGS[0]) == {}
