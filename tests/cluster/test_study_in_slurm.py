"""A small study through SLURM to its claims: where its jobs land, and that its numbers are those of a local run."""

import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from tests.cluster.conftest import ROOT, SNAKEFILE, Submitted, end, local, prepare

pytestmark = pytest.mark.slow

# GPUs are pretended: the jobs that would compute on one get it from SLURM, and compute on the processor.
STUDY = """
study: small
experiments: [label_noise]
datasets: {digits: {source: digits, train_size: 120}}
models: {cnn: {architecture: cnn, channels: [3, 4], hidden: 6}}
training:
  updates: 12
  batch_size: 20
  segment_updates: 6
  checkpoints: {every_step_until: 2, per_doubling: 1}
label_noise: {models: [cnn], labels: [half_random], optimizers: [rm3], seeds: [0]}
measurement: {sample_size: 50, heldout_size: 20}
device: cpu
operational: {training_resources: {gpu: 1}}
"""
ON_A_GPU = ("evaluate", "measure_coherence")
RESULTS = "results/small"
MADE = [f"{RESULTS}/{name}" for name in ("claims.json", "figures/training_curves.png")]


@pytest.fixture(scope="module")
def locally(tmp_path_factory):
    """The study as far as its claims, run without SLURM."""
    folder = tmp_path_factory.mktemp("locally")
    (folder / "study.yaml").write_text(STUDY)
    local(folder, "--", f"{RESULTS}/claims.json")
    return folder / RESULTS


@pytest.fixture(scope="module")
def in_slurm(lab, tmp_path_factory):
    """The study, run to its claims and a figure through SLURM, with the partitions that the documentation shows."""
    study = Submitted(lab, tmp_path_factory.mktemp("in_slurm"))
    (study.folder / "study.yaml").write_text(STUDY)
    (study.folder / "partitions.yaml").write_text(documented("partitions:"))
    options = shlex.split(documented(".venv/bin/snakemake --workflow-profile"))[1:]
    place = {"profiles/slurm": str(ROOT / "profiles/slurm"), "my_study.yaml": "study.yaml"}
    gpu = [f"{rule}:gpu=1" for rule in ON_A_GPU]
    study.run(*(place.get(option, option) for option in options), "--set-resources", *gpu, "--", *MADE)
    yield study
    end(study)


def documented(beginning: str) -> str:
    """The one block of code in docs/cluster.md that begins so."""
    text = (ROOT / "docs/cluster.md").read_text()
    blocks = re.findall(r"^ *```(?:sh|yaml)\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
    [block] = [block for block in map(textwrap.dedent, blocks) if block.startswith(beginning)]
    return block


def jobs_of(study) -> dict[str, list[dict[str, str]]]:
    """What SLURM knows of the study's jobs, by the rule or group that each was for."""
    found: dict[str, list[dict[str, str]]] = {}
    for job in map(study.lab.job, study.submitted()):
        rule = re.match(r"(?:rule|group)_(.*?)(?:_wildcards_.*)?$", job["Comment"])[1]
        found.setdefault(rule, []).append(job)
    return found


def test_jobs_land_where_they_belong(in_slurm):
    jobs = jobs_of(in_slurm)
    assert {rule: len(found) for rule, found in jobs.items()} == {
        "prepare_dataset": 1, "check_network": 1, "train": 1, "train_from_6": 1, "evaluate": 1, "measure_coherence": 1,
        "tables_tabulate": 1,
    }  # fmt: skip
    for rule, found in jobs.items():
        on_a_gpu = rule in ("train", "train_from_6", *ON_A_GPU)
        for job in found:
            assert job["JobState"] == "COMPLETED", rule
            assert job["Partition"] == ("gpu" if on_a_gpu else "cpu"), rule
            assert job.get("TresPerJob") == ("gres:gpu:1" if on_a_gpu else None), rule
            assert job["NodeList"] in in_slurm.lab.nodes
    [tables] = jobs["tables_tabulate"]
    assert (tables["NumCPUs"], tables["TimeLimit"]) == ("6", "02:00:00")  # six tables, then one that is made of them


def test_partitions_can_be_listed_as_documented(lab, tmp_path):
    program, *options = shlex.split(documented(".venv/bin/generate-slurm-partition-config"))
    command = [str(Path(sys.executable).with_name(Path(program).name)), *options]
    subprocess.run(command, cwd=tmp_path, env=lab.environment, check=True, capture_output=True)
    listed = yaml.safe_load((tmp_path / "partitions.yaml").read_text())["partitions"]
    assert listed["cpu"] == {"max_runtime": "1-00:00:00", "max_threads": 8}


def test_there_is_nothing_left_to_do(in_slurm):
    assert "Nothing to be done" in plan_of(in_slurm)


def plan_of(study) -> str:
    command = [sys.executable, "-m", "snakemake", *SNAKEFILE, "--dry-run", "--", *MADE]
    return subprocess.run(command, cwd=study.folder, text=True, capture_output=True, check=True).stdout


def test_its_numbers_are_those_of_a_local_run(in_slurm, locally):
    def files(folder: Path, kind: str) -> dict[str, Path]:
        return {str(path.relative_to(folder)): path for path in sorted(folder.rglob(f"*.{kind}"))}

    here, there = files(locally, "safetensors"), files(in_slurm.folder / RESULTS, "safetensors")
    assert list(here) == list(there)
    assert len(here) == 7 + 2  # the run's checkpoints, and the states at the ends of its segments
    for name, path in here.items():
        assert path.read_bytes() == there[name].read_bytes(), name

    here, there = files(locally, "h5"), files(in_slurm.folder / RESULTS, "h5")
    assert list(here) == list(there)
    for name, path in here.items():
        with h5py.File(path) as one, h5py.File(there[name]) as other:
            content = [key for key, value in members(one) if isinstance(value, h5py.Dataset)]
            assert content == [key for key, value in members(other) if isinstance(value, h5py.Dataset)]
            for key in content:
                np.testing.assert_array_equal(one[key][()], other[key][()], err_msg=f"{name}: {key}")


def members(file: h5py.File) -> list[tuple[str, object]]:
    """Every group and data set of the file, by its path."""
    found: list[tuple[str, object]] = []
    file.visititems(lambda name, value: found.append((name, value)))
    return found


def test_what_sbatch_says_of_a_group_that_it_refuses_is_shown(lab, tmp_path):
    study = Submitted(lab, tmp_path)
    (tmp_path / "study.yaml").write_text("study: toy\nexperiments: [toy]\n")
    study.start("--cores", "9", "--max-threads", "9", "--set-threads", "tabulate=9", "--retries", "0")
    assert study.status() == 1
    [said] = re.findall(r"Error in group tables: (.*?)\.? *sbatch call", study.said(), flags=re.DOTALL)
    assert "sbatch: error: CPU count per node can not be satisfied" in said


TWO_RANKS = """
study: ranks
experiments: [label_noise]
datasets: {digits: {source: digits, train_size: 120}}
models: {mlp: {architecture: mlp, hidden: [32]}}
training: {updates: 200, batch_size: 21, checkpoints: {every_step_until: 2, per_doubling: 1}}
device: cpu
operational: {ranks: 2, training_resources: {slurm_partition: gpu, gpu: 2}}
"""
RUN_OF_RANKS = "results/ranks/runs/digits/mlp/clean/sgd/full/seed0"


def test_two_ranks_share_one_job_and_train_as_they_do_without_slurm(lab, tmp_path):
    study, elsewhere = Submitted(lab, tmp_path / "slurm"), tmp_path / "elsewhere"
    last = f"{RUN_OF_RANKS}/state/update200.safetensors"
    prepare(elsewhere, TWO_RANKS, last)
    shutil.copytree(elsewhere, study.folder)
    local(elsewhere, "--", last)
    study.run("--", last)
    [job] = jobs_of(study)["train"]
    assert (job["NumCPUs"], job["NumNodes"], job["TresPerJob"]) == ("2", "1", "gres:gpu:2")
    paths = sorted((elsewhere / RUN_OF_RANKS).rglob("*.safetensors"))
    assert len(paths) == 10 + 1
    for path in paths:
        assert path.read_bytes() == (study.folder / path.relative_to(elsewhere)).read_bytes(), path.name


IN_PARTS = """
study: parts
experiments: [label_noise]
datasets: {digits: {source: digits, train_size: 120}}
models: {mlp: {architecture: mlp, hidden: [8]}}
training: {updates: 120, batch_size: 20, segment_updates: 60, checkpoints: {every_step_until: 120}}
measurement: {sample_size: 120, heldout_size: 1677}
device: cpu
operational: {checkpoints_per_job: 61}
"""
MEASURED = "results/parts/runs/digits/mlp/clean/sgd/full/seed0/coherence.h5"


def test_early_checkpoints_are_measured_while_a_later_segment_trains(lab, tmp_path):
    study = Submitted(lab, tmp_path)
    prepare(tmp_path, IN_PARTS, MEASURED)
    study.run("--", MEASURED)
    jobs = jobs_of(study)
    [segment], early = jobs["train_from_60"], min(jobs["measure_coherence_part"], key=lambda job: job["StartTime"])
    assert len(jobs["measure_coherence_part"]) == 2
    assert early["StartTime"] < segment["EndTime"]
    with h5py.File(tmp_path / MEASURED) as file:
        assert file["step"][:].tolist() == list(range(121))


TWO_SEEDS = """
study: edited
experiments: [label_noise]
datasets: {digits: {source: digits, train_size: 120}}
models: {mine: {architecture: "my_network:mlp"}}
training: {updates: 20, batch_size: 20, checkpoints: {every_step_until: 1}}
device: cpu
"""
OWN_NETWORK = """
import math
import time
from pathlib import Path
from torch import nn

class Waiting(nn.Sequential):
    def forward(self, inputs):
        while self.training and not Path("go_on").exists():
            Path("begun").touch()
            time.sleep(0.05)
        return super().forward(inputs)

def mlp(shape, classes):
    return Waiting(nn.Flatten(), nn.Linear(math.prod(shape), 8), nn.ReLU(), nn.Linear(8, classes))
"""


def test_jobs_that_find_code_edited_while_they_waited_leave_and_run_once_it_is_taken_back(lab, tmp_path):
    runs = [f"results/edited/runs/digits/mine/clean/sgd/full/seed{seed}" for seed in (0, 1)]
    study = Submitted(lab, tmp_path)
    (study.folder / "my_network.py").write_text(OWN_NETWORK)
    (study.folder / "go_on").touch()  # the check of the network trains it too
    targets = [f"{run}/checkpoints/step20.safetensors" for run in runs]
    prepare(study.folder, TWO_SEEDS, *targets)
    for name in ("go_on", "begun"):
        (study.folder / name).unlink(missing_ok=True)
    made = [study.folder / target for target in targets]
    study.start("--jobs", "1", "--retries", "0", "--", *targets)
    study.wait_until((study.folder / "begun").exists, "the first run is being trained, and the second one waits")
    (study.folder / "my_network.py").write_text(OWN_NETWORK.replace("8", "9"))
    (study.folder / "go_on").touch()
    assert study.status() != 0
    assert "error: my_network: edited since the study started; " in study.said()
    assert sum(path.exists() for path in made) == 1
    (study.folder / "my_network.py").write_text(OWN_NETWORK)
    study.run("--", *targets)
    first, second = (load_file(path) for path in made)
    assert [tuple(value.shape) for value in first.values()] == [tuple(value.shape) for value in second.values()]
