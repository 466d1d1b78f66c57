"""Copies of the workflow, and the miniature study, which is run once for all tests and workers."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
WORKFLOW = (
    "Snakefile", "rules", "studies", "workflow_scripts", "mcoherence", "config.yaml", "schemas", "profiles", "envs",
    "docs/captions",
)  # fmt: skip
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
PLANS = {"--dry-run", "-n", "--summary", "--rulegraph"}  # options with which Snakemake runs no job


@cache
def planning_snakemake() -> subprocess.Popen[str]:
    """A process that runs Snakemake's command line without importing it every time; it ends with this one."""
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("planning_snakemake.py")],
        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip


@dataclass(frozen=True)
class Workflow:
    """A copy of the workflow in a folder of its own."""

    folder: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Snakemake with these arguments on the miniature study; output and errors captured together."""
        arguments = ("--configfile", "miniature.yaml", *arguments)
        if PLANS.intersection(arguments):
            return self._plan(*arguments)
        return subprocess.run(
            [str(SNAKEMAKE), *arguments],
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            env=os.environ | {"COLUMNS": "200"},
        )

    def _plan(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        said = self.folder.with_name(f"{self.folder.name}.said")
        snakemake = planning_snakemake()
        print(json.dumps([str(self.folder), arguments, str(said)]), file=snakemake.stdin, flush=True)
        status = int(snakemake.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, stdout=said.read_text())

    def planned(self, *targets: str, arguments: Sequence[str] = ()) -> dict[str, int]:
        """How many jobs of each rule a run would do now, for the whole report or for the files `targets`."""
        answer = self.run("--dry-run", "--quiet", "reason", *arguments, "--", *targets)
        assert answer.returncode == 0, answer.stdout
        if "Nothing to be done" in answer.stdout:
            return {}
        table = answer.stdout.partition("Job stats:")[2]
        counts = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}
        del counts["total"]
        counts.pop("all", None)
        return counts

    @property
    def results(self) -> Path:
        """The folder of the study's results."""
        return self.folder / "results/miniature"


def copy_workflow(folder: Path) -> Workflow:
    """The workflow's files in `folder`, as a clone would have them, with the miniature study's config."""
    folder.mkdir(exist_ok=True)
    for name in WORKFLOW:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    shutil.copy2(Path(__file__).with_name("miniature.yaml"), folder / "miniature.yaml")
    return Workflow(folder)


@pytest.fixture(scope="session")
def new_workflow() -> Callable[[Path], Workflow]:
    """Makes a copy of the workflow in a folder, for studies that a module runs once for its tests."""
    return copy_workflow


@pytest.fixture
def workflow_copy(tmp_path: Path) -> Workflow:
    """A fresh copy in which nothing has run."""
    return copy_workflow(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Workflow:
    """The miniature study, run to its report by the worker that needs it first; nobody writes to it afterwards."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "finished"
    with FileLock(f"{folder}.lock"):
        if not (folder / "is_finished").exists():
            workflow = copy_workflow(folder)
            answer = workflow.run("--cores", "2", "--quiet", "reason")
            assert answer.returncode == 0, answer.stdout[-5000:]
            (folder / "is_finished").touch()
    return Workflow(folder)


def copy_study(finished: Workflow, folder: Path) -> Workflow:
    """A copy of a study with its results and Snakemake's records, time stamps included."""
    shutil.copytree(finished.folder, folder)
    return Workflow(folder)


@pytest.fixture(scope="session")
def study(finished: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """This worker's copy of the finished miniature study. Tests that edit it put back what they changed."""
    return copy_study(finished, tmp_path_factory.mktemp("study") / "study")


@pytest.fixture
def study_copy(finished: Workflow, tmp_path: Path) -> Workflow:
    """A copy of the finished miniature study for one test."""
    return copy_study(finished, tmp_path / "study")
