"""A whole study, run once for all tests, and a small training job as a process of its own, which can be held."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from mcoherence.data.store import IMAGES_SCHEMA, LABELS_SCHEMA
from mcoherence.files.hdf5 import write_hdf5
from tests.faults.bench import SAMPLE, Study, end_what_started, made_once, new_whole_study, shared_folder, started
from tests.faults.short_studies import CONFIGS, Asked, fresh
from tests.held_network import hold, wait_until_held, wait_while_running

ROOT = Path(__file__).parents[2]
DEVICE = os.environ.get("TRAINING_DEVICE", "cpu")  # cuda: the same tests on a machine with a GPU
SETTINGS = {
    "model": {"architecture": "tests.held_network:mlp"},
    "optimizer": {"method": "rm3", "lr": 0.1},
    "mini_batches": 1,
    "groups": 1,
    "batch_size": 12,
    "precision": "float32",
    "tf32": False,
    "augmentation": None,
    "start": 0,
    "stop": 5000,
    "checkpoint_steps": [0, 1, 10, 500, 2000, 4000, 5000],
    "seed": 0,
    "run": {"subset": "full"},
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the sample, leave out the tests of this folder that are not of the bench."""
    left_out = [
        item for item in items
        if SAMPLE and item.path.is_relative_to(Path(__file__).parent) and not item.get_closest_marker("sampled")
    ]  # fmt: skip
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def _nothing_left_running() -> Iterator[None]:
    """Whatever a test has started is gone after it, also where it failed."""
    yield
    end_what_started()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The whole study, run to its report with the parts of its results kept; nobody writes to it afterwards.

    In the sample it is a short one.
    """
    if SAMPLE:
        return fresh(shared_folder(tmp_path_factory), CONFIGS[0])

    def make(folder: Path) -> None:
        new_whole_study(folder).finish("--notemp")

    return made_once(shared_folder(tmp_path_factory) / "whole", make)


@pytest.fixture
def fresh_study(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Asked], Study]:
    """A function: the study of a config, run in a folder of its own; nobody writes to it afterwards."""
    return lambda asked: fresh(shared_folder(tmp_path_factory), asked)


@pytest.fixture
def whole_copy(whole: Study, tmp_path: Path) -> Study:
    """A copy of the whole study for one test."""
    return whole.copy(tmp_path / "study")


@dataclass(frozen=True)
class Job:
    """One training job and where it writes."""

    inputs: Path
    folder: Path
    settings: dict = field(default_factory=lambda: SETTINGS)
    options: tuple[str, ...] = ("--resume-interval", "0.05")
    code: str = "code"
    log: str = "log"

    @property
    def outputs(self):
        """The files that the rule declares."""
        steps = [self.folder / f"checkpoints/step{step}.safetensors" for step in self.settings["checkpoint_steps"]]
        return [*steps, self.folder / "training_log.csv", self.state]

    @property
    def state(self):
        return self.folder / f"state/update{self.settings['stop']}.safetensors"

    @property
    def records(self):
        """The records of the states that are kept, oldest first."""
        found = (self.folder / "state/unfinished").glob("*/record*.json")
        return sorted(found, key=lambda path: int(path.stem.removeprefix("record")))

    def start(self, **process):
        """The job, started; its output goes to `log`."""
        *checkpoints, log, state = map(str, self.outputs)
        command = [
            sys.executable, "-m", "workflow_scripts.train", "--settings", json.dumps(self.settings),
            "--code", self.code, "--images", str(self.inputs / "images.h5"), "--labels", str(self.inputs / "labels.h5"),
            "--split", "--begin", "--checkpoints", *checkpoints, "--log", log, "--state", state,
            "--device", DEVICE, *self.options,
        ]  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / self.log).open("w") as output:
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            return started(
                command, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT, env=environment, **process
            )

    def start_to_be_held(self, **where):
        """The job, started; it will be held, after so many updates of its own or once it has kept so many states."""
        self.folder.mkdir(parents=True, exist_ok=True)
        hold(self.folder, folder="state", **where)
        return self.start()

    def start_held(self, **where):
        """The job, started and held."""
        process = self.start_to_be_held(**where)
        wait_until_held(self.folder, lambda: process.poll() is None, self.said)
        return process

    def wait_while_running(self, condition, process):
        wait_while_running(condition, lambda: process.poll() is None, self.said)

    def finish(self):
        """The job run to its end; its output."""
        status = self.start().wait(timeout=300)
        assert status == 0, self.said()
        return self.said()

    def said(self):
        return (self.folder / self.log).read_text()

    def contents(self):
        return {path.relative_to(self.folder): path.read_bytes() for path in self.outputs}


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """images.h5 and labels.h5 of 60 random images of 3 classes."""
    folder = tmp_path_factory.mktemp("inputs")
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60, 1, 4, 4), dtype=np.uint8)
    targets = generator.integers(0, 3, 60)
    content = {f"{part}/images": images for part in ("train", "test")}
    content |= {f"{part}/targets": targets for part in ("train", "test")}
    attributes = {"mean": [0.5], "std": [0.3], "class_names": ["a", "b", "c"]}
    write_hdf5(folder / "images.h5", IMAGES_SCHEMA, content, attributes)
    none = np.zeros(60, dtype=bool)
    content = {"labels": targets, "original": targets, "selected": none, "changed": none}
    write_hdf5(folder / "labels.h5", LABELS_SCHEMA, content, {})
    return folder


@pytest.fixture(scope="session")
def uninterrupted(inputs, tmp_path_factory):
    """The job, run to its end in one go."""
    job = Job(inputs, tmp_path_factory.mktemp("uninterrupted"))
    job.finish()
    return job


@pytest.fixture
def job(inputs, tmp_path):
    """The same job in a folder of its own, not started."""
    return Job(inputs, tmp_path / "run")


@pytest.fixture
def two_ranks(job):
    """A shorter job on two ranks."""
    settings = job.settings | {"stop": 800, "checkpoint_steps": [0, 100, 800]}
    return replace(job, settings=settings, options=(*job.options, "--ranks", "2"))
