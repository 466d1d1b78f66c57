"""The wheel in an environment with nothing else in it than what it asks for: no Snakemake, nothing that draws."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mcoherence import __version__

ROOT = Path(__file__).parents[2]


def needed(requirements):
    """Names of the distributions that requirements ask for, whatever those ask for included; without extras."""
    found, waiting = {}, [Requirement(one) for one in requirements]
    while waiting:
        one = waiting.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        try:
            distribution = importlib.metadata.distribution(one.name)
        except importlib.metadata.PackageNotFoundError:  # `make TORCH=system`: without what serves another platform
            continue
        if distribution.name not in found:
            found[distribution.name] = distribution
            waiting += [Requirement(each) for each in distribution.requires or ()]
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, as `pip install .` makes it."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "-w", folder, ROOT], check=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """An environment with the wheel, and links to what it asks for as far as that is installed here."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    for distribution in needed(re.findall("^Requires-Dist: (.*)$", text, flags=re.MULTILINE)).values():
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            link, target = packages / top, Path(distribution.locate_file(top))
            if not link.exists() and target.exists():
                link.symlink_to(target)
    install = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "--quiet", "--no-deps"]
    subprocess.run([*install, "--disable-pip-version-check", str(wheel)], check=True)
    return folder


# A reader's first lines, in the empty environment; what is imported is compared with what is meant to be there.
CODE = """
import importlib.util, sys
import torch
import mcoherence
assert not [name for name in ("snakemake", "matplotlib", "seaborn", "sklearn", "torchvision", "scipy")
            if importlib.util.find_spec(name)]
from mcoherence import CoherenceMonitor, gradient_statistics
from mcoherence.data import corrupt_labels
from mcoherence.optim import M3, RM3, RA3, WinsorizedSGD
for name in mcoherence.__all__:
    getattr(mcoherence, name)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
batch = torch.randn(8, 4), torch.randint(0, 2, (8,))
loss = torch.nn.CrossEntropyLoss(reduction="none")
value = gradient_statistics(model, loss, [batch]).m_coherence()
for suffix in ("csv", "h5"):
    monitor = CoherenceMonitor(model, loss, batch, every=1, path=f"{sys.argv[1]}/c.{suffix}")
    assert monitor(0)["m_coherence"] == value
print(mcoherence.__file__, mcoherence.__version__)
"""

# Every command but merge, on a folder of four images, in one process.
COMMANDS = """
import os
import torch
from PIL import Image
from mcoherence.command.main import main
for number, colour in enumerate(["red", "green", "blue", "white"]):
    os.makedirs(f"photos/class{number % 2}", exist_ok=True)
    Image.new("RGB", (4, 4), colour).save(f"photos/class{number % 2}/{number}.png")
with open("mine.py", "w") as module:
    module.write("from torch import nn\\ndef net():\\n    return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))\\n")
import mine
torch.save(mine.net().state_dict(), "w.pt")
named = "--model mine:net --weights w.pt --data photos --size 4 --resize 4 --workers 0 --threads 1".split()
for command in (["measure", *named, "--out", "c.h5"], ["show", "c.h5"], ["verify", "c.h5"],
                ["examples", *named, "--out", "e.csv"], ["show", "e.csv"], ["verify", "."]):
    assert main(command) == 0, command
assert main(["show", "c.h5", "--png", "c.png"]) == 1
"""


def test_the_library_works_with_what_the_wheel_asks_for_alone(environment, tmp_path):
    python = environment / "bin/python"
    answer = subprocess.run(
        [python, "-I", "-c", CODE, tmp_path], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert answer.returncode == 0, answer.stderr
    file, version = answer.stdout.split()
    assert Path(file).is_relative_to(environment)
    assert version == __version__

    def command(*arguments):
        return subprocess.run(
            [environment / "bin/mcoherence", *arguments], capture_output=True, text=True, cwd=tmp_path, check=False,
            env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip

    assert command("--version").stdout == f"mcoherence {version}\n"
    for suffix in ("csv", "h5"):
        shown = command("show", f"c.{suffix}")
        assert shown.returncode == 0, shown.stderr
        assert {"step", "group", "n", "m-coherence", "alpha"} in map(set, map(str.split, shown.stdout.splitlines()))
    missing = command("show", "none.csv")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith("error: none.csv: not found")
    assert len(missing.stderr.splitlines()) == 1


def test_the_command_works_with_what_the_wheel_asks_for_alone(environment, tmp_path):
    python = [environment / "bin/python", "-I", "-c", "import sys; sys.path.insert(0, ''); " + COMMANDS.strip()]
    answer = subprocess.run(python, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[0].startswith("c.h5: m-coherence ")
    assert "c.h5: 1 file as written; 2 inputs as they were" in lines
    assert "e.csv, e.parquet: 4 examples" in lines
    assert lines[-2:] == [
        ".: 2 files as written; 4 inputs as they were",
        "of other programs, not verified: photos/class0/0.png, photos/class0/2.png, photos/class1/1.png and 1 more",
    ]
    assert answer.stderr.splitlines()[-1] == (
        "error: found no matplotlib, expected it for this command; pip install 'mcoherence[figures]'"
    )


def test_the_wheel_is_typed_and_says_where_its_science_is_from(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    assert "mcoherence/py.typed" in names
    assert {name.partition("/")[0] for name in names} <= {"mcoherence", metadata.partition("/")[0]}
    assert "Project-URL: " in text
    assert set(re.findall("^Provides-Extra: (.*)$", text, flags=re.MULTILINE)) == {"figures", "workflow"}


def test_the_extras_ask_for_all_that_the_lock_is_made_of():
    """Whoever installs `mcoherence[workflow]` gets what `make` installs, but the build backend."""
    lines = (ROOT / "envs/requirements.in").read_text().splitlines()
    wanted = {line for line in lines if line and not line.startswith("#")} - {"hatchling", "editables"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = {Requirement(one).name for one in (*project["dependencies"], *extras["figures"], *extras["workflow"])}
    assert asked - {"mcoherence"} == wanted
