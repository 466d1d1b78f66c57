"""Miniatures of two studies run on files in their native formats; tests/workflow/test_agreement.py plans all."""

import struct

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytestmark = pytest.mark.apart

SMALL_MNIST = """
datasets: {mnist: {source: mnist, train_size: 60, test_size: 20}}
models: {mlp_1x2048: {architecture: mlp, hidden: [6]}, mlp_3x256: {architecture: mlp, hidden: [4, 4, 4]}}
training:
  updates: 8
  batch_size: 10
  checkpoints: {every_step_until: 1, per_doubling: 1}
  for_models: {mlp_3x256: {updates: 4}}
label_noise:
  labels: [clean, half_random]
  seeds: [0]
  further: [{models: [mlp_3x256], labels: [half_random], optimizers: [sgd, winsorized_8]}]
sample_size: {labels: [clean], seeds: [0], sizes: [40]}
measurement: {sample_size: 20, heldout_size: 10}
"""
SMALL_IMAGENET = """
datasets:
  imagenet: &small {source: folder, root: imagenet, resize: 40, size: 32}
  imagenet_299: *small
models:
  resnet18: {architecture: cnn, channels: [3], hidden: 4}
  alexnet: {architecture: alexnet, dropout: 0, hidden: 8}
  inception_v3: {architecture: cnn, channels: [2], hidden: 3}
training:
  updates: 4
  batch_size: 8
  segment_updates: 2
  checkpoints: {every_step_until: 1, per_doubling: 1, every: 2}
  for_optimizers: {goyal: {updates: 3, batch_size: 12, segment_updates: 3, checkpoints: {every: 2}}}
label_noise:
  models: [resnet18]
  labels: [clean, all_random]
  seeds: [0]
  further:
    - {models: [alexnet], labels: [all_random]}
    - {datasets: [imagenet_299], models: [inception_v3], labels: [clean]}
easy_hard: {reference_seeds: [0], seeds: [10]}
sample_size: {labels: [clean], seeds: [0], sizes: [24]}
adversarial_start: {seeds: [0]}
measurement: {sample_size: 12, heldout_size: 6}
claims: {first_step: 1}
device: cpu
operational: {ranks: 1, workers: 0, channels_last: false}
"""


def run_small(workflow, study, changes):
    """The study with these changes, run to its report."""
    (workflow.folder / "small.yaml").write_text(f"download: false\n{changes}")
    return workflow.run(
        "--configfile", f"studies/{study}.yaml", "small.yaml", "--cores", "2", "--quiet", "reason", "host"
    )  # fmt: skip


@pytest.mark.slow
def test_the_first_dry_run_of_a_study_ends_with_what_it_will_take(workflow_copy):
    answer = workflow_copy.run("-n")
    assert answer.returncode == 0, answer.stdout
    jobs, _, plan = answer.stdout.partition("Plan of the study miniature, from nothing")
    assert "Job stats:" in jobs
    assert "core hours; divide by the jobs that run at once." in plan
    assert "Disk: " in plan
    workflow_copy.results.mkdir(parents=True)
    assert "Plan of the study" not in workflow_copy.run("-n").stdout


def test_a_miniature_of_the_mnist_study_runs_on_idx_files(workflow_copy):
    raw = workflow_copy.folder / "data/MNIST/raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0)
    for part, number in (("train", 60_000), ("t10k", 10_000)):  # as many as were published; the study takes few
        images = pixels.integers(0, 256, (number, 28, 28), dtype=np.uint8)
        labels = (np.arange(number) % 10).astype(np.uint8)
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape)
            (raw / f"{part}-{kind}-ubyte").write_bytes(head + values.tobytes())
    answer = run_small(workflow_copy, "mnist", SMALL_MNIST)
    assert answer.returncode == 0, answer.stdout[-5000:]
    results = workflow_copy.folder / "results/mnist"
    assert (results / "report.html").stat().st_size > 0
    assert (results / "figures/sample_size.png").stat().st_size > 0
    contributions = pd.read_parquet(results / "tables/contributions.parquet")
    assert set(contributions["world"]) == {"measured", "null 1", "null 2"}
    assert set(contributions["model"]) == {"mlp_1x2048", "mlp_3x256"}
    steps = {
        model: max(int(path.stem.removeprefix("step")) for path in (results / f"runs/mnist/{model}").rglob("step*"))
        for model in ("mlp_1x2048", "mlp_3x256")
    }
    assert steps == {"mlp_1x2048": 8, "mlp_3x256": 4}


@pytest.mark.slow
def test_a_miniature_of_the_imagenet_study_runs_on_a_folder_of_jpegs(workflow_copy):
    pixels = np.random.default_rng(0)
    for part, number in (("train", 8), ("val", 2)):
        for name in ("n01", "n02", "n03"):
            folder = workflow_copy.folder / f"data/imagenet/{part}/{name}"
            folder.mkdir(parents=True)
            for image in range(number):
                content = pixels.integers(0, 256, (50, 45, 3), dtype=np.uint8)
                Image.fromarray(content).save(folder / f"{image}.JPEG")
    answer = run_small(workflow_copy, "imagenet", SMALL_IMAGENET)
    assert answer.returncode == 0, answer.stdout[-5000:]
    results = workflow_copy.folder / "results/imagenet"
    for name in ("report.html", "figures/adversarial_start.png", "figures/sample_size.png", "figures/easy_hard.png"):
        assert (results / name).stat().st_size > 0
