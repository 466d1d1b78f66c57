"""Miniatures of two studies run, on real images and on JPEGs; tests/workflow/test_agreement.py plans every study."""

import os

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mcoherence.data.idx_files import PACKAGES

pytestmark = [pytest.mark.apart, pytest.mark.one_in(3)]

SMALL_FASHION_MNIST = """
datasets:
  fashion_mnist: {source: fashion_mnist, train_size: 60, test_size: 20}
  fashion_1000: {source: fashion_mnist, train_size: 40, test_size: 20}
models: {mlp_1x512: {architecture: mlp, hidden: [6]}, mlp_1x64: {architecture: mlp, hidden: [4]}}
training:
  updates: 8
  batch_size: 10
  checkpoints: {every_step_until: 1, per_doubling: 1}
  for_datasets: {fashion_1000: {updates: 4}}
  for_optimizers: {sgd_slow: {updates_factor: 2}}
label_noise:
  labels: [clean, half_random]
  seeds: [0]
  further:
    - {labels: [half_random], optimizers: [sgd_slow]}
    - {datasets: [fashion_1000], models: [mlp_1x64], labels: [half_random], optimizers: [sgd, winsorized_2]}
sample_size: {datasets: [fashion_mnist], labels: [clean], sizes: [40]}
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
sample_size: {labels: [clean], seeds: [0], sizes: [6]}
adversarial_start: {seeds: [0]}
measurement: {sample_size: 12, heldout_size: 6}
claims: {first_step: 1}
device: cpu
operational: {ranks: 1, workers: 0, channels_last: false}
"""


def run_small(workflow, study, changes, figures):
    """The study with these changes, run to its claims and these figures of its own, the results' folder given."""
    (workflow.folder / "small.yaml").write_text(f"download: false\n{changes}")
    results = f"results/{study}"
    answer = workflow.run(
        "--configfile", f"studies/{study}.yaml", "small.yaml", "--cores", "2", "--quiet", "reason", "host", "--",
        f"{results}/claims.html", *(f"{results}/figures/{name}.png" for name in figures),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout[-5000:]
    for name in figures:
        assert (workflow.folder / results / f"figures/{name}.png").stat().st_size > 0
    return workflow.folder / results


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


def test_a_miniature_of_the_fashion_mnist_study_runs_on_the_files_of_debians_package(workflow_copy):
    """Real images, found without a data folder or a download; CI installs the package."""
    package, folder = PACKAGES["fashion_mnist"]
    if not folder.is_dir():
        reason = f"no {folder}; on Debian: apt-get install {package}"
        if os.environ.get("MCOHERENCE_REQUIRE_FASHION_MNIST"):
            pytest.fail(reason)
        pytest.skip(reason)
    results = run_small(workflow_copy, "fashion_mnist_small", SMALL_FASHION_MNIST, ["winsorization", "sample_size"])
    assert not (workflow_copy.folder / "data").exists()
    with h5py.File(results / "data/fashion_mnist/images.h5") as file:
        assert file["train/images"].shape == (60, 1, 28, 28)
        assert file.attrs["published"] == "yes, by the SHA-256 of what its files hold"
        assert file.attrs["class_names"].tolist()[3] == "Dress"
    assert "yes, by the SHA-256 of what its files hold" in (results / "claims.html").read_text()
    contributions = pd.read_parquet(results / "tables/contributions.parquet")
    assert set(contributions["world"]) == {"measured", "null 1", "null 2"}
    steps = {
        run: max(int(path.stem.removeprefix("step")) for path in (results / "runs" / run).rglob("step*"))
        for run in ("fashion_mnist/mlp_1x512/half_random/sgd_slow", "fashion_1000/mlp_1x64/half_random/winsorized_2")
    }
    assert list(steps.values()) == [16, 4]


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
    run_small(workflow_copy, "imagenet", SMALL_IMAGENET, ["adversarial_start", "sample_size", "easy_hard", "examples"])
