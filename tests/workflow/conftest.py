"""A copy of the workflow, and the miniature study run in it once for all tests."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOW = (
    "Snakefile", "rules", "studies", "workflow_scripts", "mcoherence", "config.yaml", "schemas", "profiles", "envs",
    "docs",
)  # fmt: skip
SNAKEMAKE = Path(sys.executable).with_name("snakemake")


@dataclass(frozen=True)
class Workflow:
    """A copy of the workflow in a folder of its own."""

    folder: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Snakemake with these arguments on the miniature study; output and errors captured together."""
        command = [str(SNAKEMAKE), "--configfile", "miniature.yaml", *arguments]
        return subprocess.run(
            command,
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            env=os.environ | {"COLUMNS": "200"},
        )

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
def study(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The miniature study, run to its report. Tests that edit it put back what they changed."""
    workflow = copy_workflow(tmp_path_factory.mktemp("study"))
    answer = workflow.run("--cores", "2", "--quiet", "reason")
    assert answer.returncode == 0, answer.stdout[-5000:]
    return workflow
