"""What the bench of faults shares: its studies, which take seconds, and how its trials are drawn.

Trials are drawn by a seed, 0 unless the environment variable MCOHERENCE_FAULTS_SEED gives another one. Where
MCOHERENCE_FAULTS is `sample`, as in `make test`, few of them are tried.
"""

import contextlib
import os
import random
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from mcoherence.files.digests import sha256_of
from tests.workflow.conftest import copy_workflow

SAMPLE = os.environ.get("MCOHERENCE_FAULTS") == "sample"
SEED = int(os.environ.get("MCOHERENCE_FAULTS_SEED", "0"))
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
HANGS = 540  # seconds after which a start of Snakemake hangs, on a machine that is slow and busy as well
# Below the results: what differs from run to run, and what is left of a run on its way.
STARTED: list["subprocess.Popen[str]"] = []  # of this test
MARK, TOKEN = "MCOHERENCE_TEST_STARTED_IT", secrets.token_hex(8)  # in the environment of what it started
NO_RESULTS = re.compile("benchmarks/|logs/|code/|report.html|study.html|index.html|.*/(parts|unfinished)/|.*/lock$")


def drawn(what: str) -> random.Random:
    """The draws of one test, which are its own whatever others draw."""
    return random.Random(f"{SEED} {what}")


def few(number: int, of_sample: int) -> int:
    """How many of something are tried: `number`, or in the sample `of_sample`."""
    return of_sample if SAMPLE else number


@dataclass(frozen=True)
class Study:
    """A copy of the workflow in a folder of its own, with the config file study.yaml of a study called bench."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results/bench"

    def configure(self, text: str) -> None:
        (self.folder / "study.yaml").write_text(text)

    def start(self, *arguments: str, cores: int = 2) -> "subprocess.Popen[str]":
        """Snakemake in a process group of its own; what it says goes to the file `said`."""
        options = ["--configfile", "study.yaml", "--cores", str(cores), "--quiet", "reason"]
        command = [str(SNAKEMAKE), *options, *arguments]
        with (self.folder / "said").open("w") as output:
            return started(command, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT)

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def run(self, *arguments: str) -> int:
        """Exit status of Snakemake."""
        return self.start(*arguments).wait(timeout=HANGS)

    def finish(self, *arguments: str) -> str:
        """What Snakemake said, which ended well."""
        assert self.run(*arguments) == 0, self.said()[-5000:]
        return self.said()

    def contents(self) -> dict[str, str]:
        """Digest of every file below the results that two runs of one study have in common."""
        paths = {str(path.relative_to(self.results)): path for path in self.results.rglob("*") if path.is_file()}
        return {name: sha256_of(path) for name, path in sorted(paths.items()) if not NO_RESULTS.match(name)}

    def copy(self, folder: Path) -> "Study":
        """A copy with results, records and time stamps."""
        shutil.copytree(self.folder, folder)
        return Study(folder)


def new_study(folder: Path, config: str) -> Study:
    """A study of which nothing has run."""
    folder.mkdir(parents=True, exist_ok=True)
    study = Study(copy_workflow(folder).folder)
    study.configure(config)
    return study


def started(command: Sequence[str | Path], **options: Any) -> "subprocess.Popen[str]":
    """A process in a group of its own, which is ended with the test, and with it all that it starts."""
    environment = options.pop("env", os.environ) | {MARK: TOKEN}
    STARTED.append(subprocess.Popen(command, text=True, start_new_session=True, env=environment, **options))
    return STARTED[-1]


def end_what_started() -> None:
    """End all that this test, or what it waited for, has left running: by their mark, for numbers are used again."""
    if not STARTED:
        return
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == TOKEN:
                process.kill()
    while STARTED:
        STARTED.pop().wait()


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what all workers of this run of the tests share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(folder: Path, make: Callable[[Path], object]) -> Study:
    """The study in a folder that all workers share: the first that needs it makes it."""
    with FileLock(f"{folder}.lock"):
        if not folder.with_name(f"{folder.name}.made").exists():
            make(folder)
            folder.with_name(f"{folder.name}.made").touch()
    return Study(folder)


# One run of the whole study is measured and evaluated in parts, and few of its figures are drawn.
MADE_SMALL = {
    "mcoherence/study/cutting.py": [
        ("_IN_PARTS = 2", "_IN_PARTS = 1 # 2"),
        ("if not in_parts(", 'if run.subset != "full" or not in_parts('),
    ],
    "mcoherence/study/catalogue.py": [
        ("if figure.made(config)\n", 'if figure.made(config) and name in ("examples", "toy_regression")\n'),
    ],
}


def new_whole_study(folder: Path) -> Study:
    """A study in which every rule has a job, of which nothing has run."""
    study = new_study(folder, (Path(__file__).with_name("whole_study.yaml")).read_text())
    shutil.copy2(Path(__file__).with_name("own_study.py"), study.folder)
    for name, replaced in MADE_SMALL.items():
        path = study.folder / name
        text = path.read_text()
        for old, new in replaced:
            assert old in text, (name, old)
            text = text.replace(old, new)
        path.write_text(text)
    return study
