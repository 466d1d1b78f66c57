"""The locks, the environment for conda and the one on a torch that is there agree, and make sets them up as asked."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
CONDA_FORGE = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
NOT_FOR_JOBS = {"snakemake", "snakemake-executor-plugin-slurm", "pygments", "hatchling", "editables"}
MARKERS = {"sys_platform": "linux", "platform_machine": "x86_64"}
LOCKS = ("envs/requirements.lock", "envs/test-requirements.lock")


def pins(lock: str) -> list[Requirement]:
    """Every pin of the text of a lock."""
    return [Requirement(line) for line in re.findall(r"^[a-z0-9][^ ]*==.*?(?= \\$)", lock, re.MULTILINE)]


def locked_versions(python: str) -> dict[str, str]:
    """Version of every package that the lock names for this Python on Linux."""
    here = MARKERS | {"python_version": python, "python_full_version": f"{python}.0"}
    return {
        each.name: str(each.specifier).removeprefix("==")
        for each in pins((ROOT / LOCKS[0]).read_text())
        if each.marker is None or each.marker.evaluate(here)
    }


def wanted(requirements: str) -> set[str]:
    """Names in a list of direct requirements."""
    return {line for line in (ROOT / requirements).read_text().splitlines() if line and not line.startswith("#")}


def test_conda_gets_the_versions_of_the_lock():
    python, *dependencies = yaml.safe_load((ROOT / "envs/study.yaml").read_text())["dependencies"]
    names = wanted("envs/requirements.in") - NOT_FOR_JOBS
    version = re.fullmatch(r"python =(3\.\d+)", python)[1]
    locked = locked_versions(version)
    assert sorted(dependencies) == sorted(f"{CONDA_FORGE.get(name, name)} ={locked[name]}" for name in names)


def test_a_package_is_in_one_lock_and_what_only_tests_need_is_in_the_second():
    study, tests = ({pin.name for pin in pins((ROOT / lock).read_text())} for lock in LOCKS)
    assert len(study) > 80
    assert not study & tests
    assert wanted("envs/requirements.in") <= study
    assert wanted("envs/test-requirements.in") <= tests | study
    assert {"pytest", "ruff", "mypy", "hypothesis", "opacus"} <= tests


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_hashes_for_every_pin_and_names_no_host(lock):
    text = (ROOT / lock).read_text()
    for pin in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", pin), pin
    assert "://" not in text
    assert not re.search(r"^ *-(?!-hash)", text, flags=re.MULTILINE)  # an option, such as an index


# What make calls in the place of a Python: it makes environments whose pip notes what it is asked to install. Whatever
# else it is asked to do, Python itself does.
PYTHON = """#!/bin/sh
if [ "$2" != venv ]; then exec {python} "$@"; fi
for folder; do :; done
mkdir -p "$folder/bin"
echo "$@" > "$folder/made_by"
printf '#!/bin/sh\\nexec {python} "$@"\\n' > "$folder/bin/python"
cat > "$folder/bin/pip" <<'PIP'
#!/bin/sh
for asked; do :; done
if grep -q "^${{LACKING:-nothing}}==" "$asked"; then echo "no $LACKING" >&2; exit 1; fi
if [ -f "$asked" ]; then sed -n '/==/s/ .*//p' "$asked"; else echo "$asked"; fi >> {folder}/installed
PIP
chmod +x "$folder/bin/python" "$folder/bin/pip"
"""
TORCHES = {
    "torch 2.11.0+cu130": ("2.11.0+cu130", "0.26.0"),
    "a build before the release": ("2.11.0a0+0123abc.nv26.3", "0.26.0a0"),
}


@pytest.fixture
def make(tmp_path):
    """Makes a target in a folder with the Makefile and envs/ alone, with these versions of torch and torchvision."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    python = tmp_path / "python"
    python.write_text(PYTHON.format(python=sys.executable, folder=tmp_path))
    python.chmod(0o755)

    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`

    def run(target, *arguments, torch="2.11.0", torchvision="0.26.0"):
        for name, version in (("torch", torch), ("torchvision", torchvision)):
            (tmp_path / f"there/{name}").mkdir(parents=True, exist_ok=True)
            text = f"__version__ = {version!r}\n" if version else "raise ImportError('libnone.so: not found')\n"
            (tmp_path / f"there/{name}/__init__.py").write_text(text)
        return subprocess.run(
            ["make", "--silent", target, f"PYTHON={python}", *arguments],
            cwd=tmp_path, text=True, capture_output=True, check=False,
            env=outside | {"PYTHONPATH": str(tmp_path / "there"), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip

    return run


def installed(folder):
    """What pip was asked to install since this was asked last: the list that has just these pins, and the folder."""
    lines = (folder / "installed").read_text().splitlines() if (folder / "installed").exists() else []
    (folder / "installed").unlink(missing_ok=True)
    asked, folders = sorted(line for line in lines if "==" in line), [line for line in lines if "==" not in line]
    if not asked:
        return folders
    assert lines[-len(folders) :] == folders or not folders  # the study itself last
    lists = [folder / name for name in (*LOCKS, ".venv/without_torch.lock") if (folder / name).exists()]
    pins_of = {str(each.relative_to(folder)): [*blocks(each.read_text()).values()] for each in lists}
    [found] = [name for name, each in pins_of.items() if sorted(text.split()[0] for text in each) == asked]
    return [found, *folders]


def blocks(lock: str) -> dict[str, str]:
    """Name and whole text, hashes included, of every pin of a lock; a package has one for each range of Pythons."""
    found = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]
    return {text.partition(" ")[0] + text.partition(";")[2].partition("\\")[0]: text for text in found}


@pytest.mark.parametrize(("torch", "torchvision"), TORCHES.values(), ids=TORCHES)
def test_on_a_torch_that_is_there_all_of_the_lock_but_torch_and_cuda_is_installed(make, tmp_path, torch, torchvision):
    answer = make("setup", "TORCH=system", torch=torch, torchvision=torchvision)
    assert answer.returncode == 0, answer.stderr
    assert "--system-site-packages" in (tmp_path / ".venv/made_by").read_text()
    assert installed(tmp_path) == [".venv/without_torch.lock", "."]
    whole, rest = blocks((ROOT / LOCKS[0]).read_text()), blocks((tmp_path / ".venv/without_torch.lock").read_text())
    left_out = {name.partition("==")[0] for name in whole.keys() - rest.keys()}
    assert {"torch", "torchvision", "triton", "cuda-toolkit", "nvidia-cudnn-cu13"} <= left_out
    assert {name.partition("-")[0] for name in left_out} == {"torch", "torchvision", "triton", "cuda", "nvidia"}
    assert rest == {name: text for name, text in whole.items() if name in rest}


@pytest.mark.parametrize(
    ("torch", "torchvision", "message"),
    [
        ("2.10.1", "0.25.1", "found torch 2.10.1, which is not tested; expected 2.11 to {torch}"),
        ("3.0.0", "0.26.0", "found torch 3.0.0, which is not tested; expected 2.11 to {torch}"),
        ("unknown", "0.26.0", "found torch unknown, which is not tested; expected 2.11 to {torch}"),
        ("2.11.0", "0.25.1", "found torchvision 0.25.1, which is not tested; expected 0.26 to {torchvision}"),
        ("", "0.26.0", "torch does not import in {base} (libnone.so: not found); expected 2.11 to {torch}"),
    ],
)
def test_a_torch_that_is_not_tested_is_refused_in_one_line(make, tmp_path, torch, torchvision, message):
    make("setup")
    answer = make("setup", "TORCH=system", torch=torch, torchvision=torchvision)
    line, of_make = answer.stderr.splitlines()
    way_out = "; name another Python with PYTHON=, or take the torch of the lock with TORCH=lock"
    locked = locked_versions("3.11")
    assert line == f"make TORCH=system: {message.format(**locked, base=sys.base_prefix)}{way_out}"
    assert of_make.startswith("make: ***")
    assert installed(tmp_path) == [LOCKS[0], "."]  # what was there before is there still
    assert (tmp_path / ".venv/.installed").exists()


def test_another_torch_is_another_environment_which_is_remembered(make, tmp_path):
    assert make("setup").returncode == 0
    assert installed(tmp_path) == [LOCKS[0], "."]
    assert make("setup", "TORCH=lock").returncode == 0
    assert installed(tmp_path) == []
    make("setup", "TORCH=system")
    assert installed(tmp_path) == [".venv/without_torch.lock", "."]
    make("setup")
    assert installed(tmp_path) == []
    make("setup", "TORCH=lock")
    assert installed(tmp_path) == [LOCKS[0], "."]
    assert "--system-site-packages" not in (tmp_path / ".venv/made_by").read_text()
    [line] = make("setup", "TORCH=mine").stderr.splitlines()
    assert 'TORCH is "mine"; expected "lock", the torch of envs/requirements.lock, or "system"' in line


def test_what_only_tests_need_is_installed_when_they_first_run(make, tmp_path):
    for torch, study in (("lock", LOCKS[0]), ("system", ".venv/without_torch.lock")):
        make("setup", f"TORCH={torch}")
        assert installed(tmp_path) == [study, "."]
        make("setup-tests")
        assert installed(tmp_path) == [LOCKS[1]]
        make("setup-tests")
        assert installed(tmp_path) == []


def test_a_package_that_cannot_be_had_ends_the_set_up_which_can_be_made_again(make, tmp_path):
    answer = make("setup", "LACKING=sympy")
    assert answer.returncode == 2
    assert "no sympy" in answer.stderr
    assert not (tmp_path / ".venv/.installed").exists()
    (tmp_path / "installed").unlink()
    assert make("setup").returncode == 0
    assert installed(tmp_path) == [LOCKS[0], "."]
