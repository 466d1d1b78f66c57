"""Snakemake's own jobs killed: it deletes what they declared, and the next start still ends with the same bytes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.bench import started
from tests.held_network import hold, wait_until_held

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
RUN = "results/faults/runs/digits/held/half_random/rm3/full/seed0"
STUDY = """
study: faults
experiments: [label_noise]
datasets: {digits: {source: digits, train_size: 120}}
models: {held: {architecture: "tests.held_network:mlp"}}
training:
  updates: 2000
  batch_size: 20
  checkpoints: {every_step_until: 2, per_doubling: 1}
operational: {resume_interval: 1}
"""


def snakemake(folder, *arguments, target=f"{RUN}/state/update2000.safetensors"):
    """Snakemake started on one run of a small study in `folder`, in a process group of its own."""
    (folder / "study.yaml").write_text(STUDY)
    command = [SNAKEMAKE, "--snakefile", ROOT / "Snakefile", "--configfile", "study.yaml", "--cores", "1"]
    with (folder / "said").open("w") as output:
        return started([*command, *arguments, "--", target], cwd=folder, stdout=output, stderr=subprocess.STDOUT)


def finish(folder):
    assert snakemake(folder).wait(timeout=300) == 0, (folder / "said").read_text()


def files(folder):
    """The declared files of the run that are there, with their bytes."""
    run = folder / RUN
    paths = [*run.glob("checkpoints/*"), *run.glob("*.csv"), *run.glob("state/*.safetensors")]
    return {path.relative_to(run): path.read_bytes() for path in paths}


def held_trainer(folder):
    """Snakemake, started in `folder`, and the process id of its job's trainer, which is held after it kept a state."""
    hold(folder, states=1, folder=f"{RUN}/state")
    process = snakemake(folder)
    return process, wait_until_held(folder, lambda: process.poll() is None, (folder / "said").read_text)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    finish(folder)
    return files(folder)


def test_a_killed_trainer_is_continued_although_snakemake_deletes_its_outputs(tmp_path, uninterrupted):
    process, trainer = held_trainer(tmp_path)
    os.kill(trainer, signal.SIGKILL)
    assert process.wait(timeout=300) == 1
    assert files(tmp_path) == {}
    finish(tmp_path)
    log = tmp_path / "results/faults/logs/train/digits/held/half_random/rm3/full/seed0.log"
    assert "resume: going on from the state after update" in log.read_text()
    assert len(uninterrupted) == 13 + 2
    assert files(tmp_path) == uninterrupted


def test_a_killed_snakemake_with_its_jobs_is_continued(tmp_path, uninterrupted):
    process, _ = held_trainer(tmp_path)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert snakemake(tmp_path, "--unlock").wait(timeout=300) == 0
    finish(tmp_path)
    assert files(tmp_path) == uninterrupted
