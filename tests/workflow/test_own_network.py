"""Networks and data of a user's own in the workflow: made like any others, and again when their code changes alone."""

import pytest

from mcoherence import load_checkpoint
from mcoherence.data.store import read_targets

pytestmark = pytest.mark.slow

NETWORK = """from torch import nn


def linear(input_shape, num_classes, bias=True):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes, bias=bias))
"""
STUDY = """
study: miniature
experiments: [label_noise, easy_hard]
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
    # Another use of the network is another check, for which nothing is trained again.
    (folder / "miniature.yaml").write_text(STUDY + "measurement: {precision: float32}\n")
    assert workflow_copy.planned(*LOGS) == {}
    (folder / "miniature.yaml").write_text(STUDY)

    module.write_text("# A comment.\n" + NETWORK)
    assert workflow_copy.planned(*LOGS) == {}
    module.write_text(NETWORK.replace("bias=bias)", "bias=not bias)"))
    assert workflow_copy.planned(*LOGS) == {"check_network": 1, "train": 1}
    assert workflow_copy.planned(LOGS[0]) == {}


DATA = """import numpy as np


def data(count):
    images = np.random.default_rng(0).integers(0, 256, size=(count, 1, 8, 8), dtype=np.uint8)
    targets = np.arange(count) % 2
    return images, targets, images[:20], targets[:20]
"""
OF_DATA = """
study: miniature
experiments: [label_noise, easy_hard]
models: {mlp: {architecture: mlp, hidden: [4]}}
datasets: {mine: {source: "own.data:data", shape: [1, 8, 8], options: {count: 60}}}
training: {updates: 1, batch_size: 20, checkpoints: {every_step_until: 0, per_doubling: 1}}
label_noise: {datasets: [mine], models: [mlp], labels: [clean], optimizers: [sgd], seeds: [0]}
easy_hard: {datasets: [mine], models: [mlp], reference_seeds: [0], seeds: [10]}
"""


def test_data_of_ones_own_are_prepared_again_when_their_code_changes(workflow_copy):
    folder, images = workflow_copy.folder, "results/miniature/data/mine/images.h5"
    (folder / "miniature.yaml").write_text(OF_DATA)
    absent = workflow_copy.run("--dry-run", "--quiet", "all", "--", images)
    assert absent.returncode == 1
    assert "error: datasets.mine.source: found 'own.data:data', but no own/data.py" in absent.stdout

    (folder / "own").mkdir()
    module = folder / "own/data.py"
    module.write_text(DATA)
    answer = workflow_copy.run("--cores", "1", "--quiet", "reason", "--", images)
    assert answer.returncode == 0, answer.stdout[-5000:]
    assert len(read_targets(folder / images, "train")) == 60
    module.write_text("# A comment.\n" + DATA)
    assert workflow_copy.planned(images) == {}
    module.write_text(DATA.replace("default_rng(0)", "default_rng(1)"))
    assert workflow_copy.planned(images) == {"prepare_dataset": 1}
