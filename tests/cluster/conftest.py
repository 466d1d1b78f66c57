"""A SLURM of its own for these tests, small studies that run in it, and the same studies undisturbed."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.slurm_lab import SlurmLab, missing_programs, running, tracks_by_cgroup, wait_until
from tests.held_network import hold, wait_until_held

ROOT = Path(__file__).parents[2]
SNAKEFILE = ("--snakefile", str(ROOT / "Snakefile"), "--configfile", "study.yaml")
# One run, which keeps a state every second and can be held after one.
ONE_RUN = """
study: one_run
experiments: [label_noise]
datasets: {digits: {source: digits, train_size: 120}}
models: {held: {architecture: "tests.held_network:mlp"}}
training:
  updates: 2000
  batch_size: 20
  checkpoints: {every_step_until: 2, per_doubling: 1}
device: cpu
"""
RUN = "results/one_run/runs/digits/held/half_random/rm3/full/seed0"
WENT_ON = "going on from the state after update"  # says a trainer of what another one has kept
STATE = f"{RUN}/state/update2000.safetensors"
STARTED: list[subprocess.Popen[bytes]] = []  # Snakemakes, each the leader of a process group


def local(folder: Path, *arguments: str) -> None:
    """Run the study in `folder` without SLURM."""
    answer = subprocess.run(
        [sys.executable, "-m", "snakemake", *SNAKEFILE, "--cores", "2", "--quiet", "reason", *arguments],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout[-5000:]


def prepare(folder: Path, study: str, *targets: str) -> None:
    """Write the config of a study in `folder`, and do the jobs without SLURM that the trainings for `targets` need."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(study)
    local(folder, "--until", "corrupt_labels", "check_network", "--", *targets)


@dataclass
class Submitted:
    """A study in a folder, run by Snakemake through a SLURM."""

    lab: SlurmLab
    folder: Path
    snakemake: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        """Start Snakemake with the profile for SLURM."""
        command = [sys.executable, str(ROOT / "tests/cluster/prompt_snakemake.py"), *SNAKEFILE]
        profile = ["--workflow-profile", str(ROOT / "profiles/slurm"), "--slurm-init-seconds-before-status-checks", "1"]
        with (self.folder / "said").open("a") as output:
            self.snakemake = subprocess.Popen(
                [*command, *profile, "--max-status-checks-per-second", "2", *arguments],
                cwd=self.folder, env=self.lab.environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        STARTED.append(self.snakemake)

    def status(self) -> int:
        """Wait for Snakemake to end; its exit status."""
        assert self.snakemake is not None
        return self.snakemake.wait(timeout=1800)

    def succeed(self) -> None:
        """Wait for Snakemake to end well."""
        assert self.status() == 0, self.said()

    def run(self, *arguments: str) -> None:
        """Run Snakemake to its end, and well."""
        self.start(*arguments)
        self.succeed()

    def said(self) -> str:
        """What Snakemake said, and what the trainer did."""
        logs = sorted((self.folder / "results").rglob("*.log"))
        return "\n".join(f"--- {path}\n{path.read_text()[-6000:]}" for path in [self.folder / "said", *logs])

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until the condition has held once, while Snakemake runs."""
        held = False

        def settled() -> bool:
            nonlocal held
            ended = self.snakemake.poll() is not None
            held = bool(condition())
            return held or ended

        try:
            wait_until(settled, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()}\n{self.lab.said()}") from error
        assert held, f"Snakemake ended before {what}\n{self.said()}"

    def submitted(self) -> list[str]:
        """Numbers of the jobs that were submitted, in this order."""
        return re.findall(r"SLURM jobid '?(\d+)", (self.folder / "said").read_text())

    def running_job(self, after: str | None = None) -> str:
        """The job that SLURM runs, waited for; not the job `after`, which was there before it."""
        self.wait_until(lambda: self.submitted() and self.submitted()[-1] != after, "a job is submitted")
        job = self.submitted()[-1]
        self.wait_until(lambda: self.lab.job(job)["JobState"] == "RUNNING", "SLURM runs the job")
        return job


@dataclass
class Training(Submitted):
    """One training run in SLURM, to be disturbed."""

    def begin(self, *arguments: str, where: dict[str, int | str] | None = None, node: int = 1) -> None:
        """Start Snakemake on the training, whose jobs need `where`, on one of the two nodes."""
        extra = f"--nodelist={self.lab.nodes[node - 1]}"
        resources = {"slurm_partition": "gpu", "gpu": 1, "slurm_extra": extra} | (where or {})
        settings = f"operational: {{resume_interval: 1, training_resources: {resources}}}"
        (self.folder / "study.yaml").write_text(f"{ONE_RUN}{settings}\n")
        self.start("--jobs", "1", *arguments, "--", STATE)

    def hold(self) -> None:
        """Have the next trainer held once it has kept a state, so that it is not at its end before what disturbs it."""
        hold(self.folder, states=1, folder=f"{RUN}/state")

    def wait_until_held(self) -> None:
        """Wait until the trainer is held. It goes on when it is asked to leave."""
        wait_until_held(self.folder, lambda: self.snakemake.poll() is None, lambda: f"{self.said()}\n{self.lab.said()}")

    def log(self) -> str:
        """What the last trainer said."""
        path = self.folder / "results/one_run/logs/train" / RUN.split("runs/")[1]
        path = path.with_name(path.name + ".log")
        return path.read_text() if path.exists() else ""

    def last_state(self) -> int:
        """The update after which the last state was kept that is there."""
        records = (self.folder / RUN / "state/unfinished").glob("*/record*.json")
        return max(int(path.stem.removeprefix("record")) for path in records)

    def went_on_from(self) -> int:
        """The update whose state the last trainer went on from."""
        return int(re.search(rf"{WENT_ON} (\d+)", self.log())[1])

    def files(self) -> dict[Path, bytes]:
        """The declared files of the run that are there, with their bytes."""
        return files_of(self.folder)


def files_of(folder: Path) -> dict[Path, bytes]:
    """The declared files of the run in `folder` that are there, with their bytes."""
    run = folder / RUN
    paths = [*run.glob("checkpoints/*"), *run.glob("*.csv"), *run.glob("state/*.safetensors")]
    return {path.relative_to(run): path.read_bytes() for path in paths}


def lab_of(tracking: str):
    """A SLURM cluster of these tests' own.

    Skips where no SLURM is installed, for only root can install one and a user's laptop has none; CI sets
    MCOHERENCE_REQUIRE_SLURM, and there a missing SLURM is a failure.
    """
    missing = missing_programs()
    if missing:
        reason = f"SLURM is not installed ({', '.join(missing)}); on Debian: apt-get install slurm-wlm munge"
        if os.environ.get("MCOHERENCE_REQUIRE_SLURM"):
            pytest.fail(reason)
        pytest.skip(reason)
    # Not pytest's own folder: the names of unix sockets are short.
    return running(Path(tempfile.gettempdir(), f"sl{secrets.token_hex(3)}"), tracking)


@pytest.fixture(scope="session")
def lab():
    """A SLURM that keeps a job's processes together as clusters do, by cgroups, where that can be had."""
    with lab_of("cgroup" if tracks_by_cgroup() else "pgid") as lab:
        yield lab
        for snakemake in STARTED:
            if snakemake.poll() is None:  # a test that failed has left it
                os.killpg(snakemake.pid, signal.SIGKILL)
                snakemake.wait()


@pytest.fixture(scope="session")
def lab_by_process_group():
    """A SLURM that keeps a job's processes together by process groups, and so signals all of them."""
    with lab_of("pgid") as lab:
        yield lab


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A folder in which the training has its images and labels, and its network is checked."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder, ONE_RUN, STATE)
    return folder


@pytest.fixture(scope="session")
def new_training(lab, prepared, tmp_path_factory):
    """Makes a training in a folder of its own, not started, in a SLURM; ends what is left of it with the session."""
    made = []

    def make(lab: SlurmLab) -> Training:
        folder = tmp_path_factory.mktemp("training")
        shutil.copytree(prepared, folder, dirs_exist_ok=True)
        made.append(Training(lab, folder))
        return made[-1]

    yield make
    for training in made:
        end(training)


@pytest.fixture
def training(lab, new_training):
    """A training, not started."""
    return new_training(lab)


def end(submitted: Submitted) -> None:
    """End what a failed test has left."""
    if submitted.snakemake is None:
        return
    if submitted.snakemake.poll() is None:
        submitted.snakemake.kill()
        submitted.snakemake.wait()
    for job in submitted.submitted():
        submitted.lab.ask("scancel", job)


@pytest.fixture(scope="session")
def undisturbed(prepared, tmp_path_factory):
    """The files of the training, run in one go and without SLURM."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("undisturbed"), dirs_exist_ok=True)
    local(folder, "--", STATE)
    files = files_of(folder)
    assert len(files) == 13 + 2
    return files
