"""The environment for conda names the versions of the lock, and jobs run in it where Snakemake has made it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
CONDA_FORGE = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
NOT_FOR_JOBS = ("snakemake", "snakemake-executor-plugin-slurm")
MARKERS = {"sys_platform": "linux", "platform_machine": "x86_64"}


def locked_versions(python: str) -> dict[str, str]:
    """Version of every package that the lock names for this Python on Linux."""
    lines = re.findall(r"^[a-z0-9][^ ]*==.*?(?= \\$)", (ROOT / "envs/requirements.lock").read_text(), re.MULTILINE)
    found = map(Requirement, lines)
    here = MARKERS | {"python_version": python, "python_full_version": f"{python}.0"}
    return {
        each.name: str(each.specifier).removeprefix("==")
        for each in found
        if each.marker is None or each.marker.evaluate(here)
    }


def test_conda_gets_the_versions_of_the_lock():
    python, *pins = yaml.safe_load((ROOT / "envs/study.yaml").read_text())["dependencies"]
    study = (ROOT / "envs/requirements.in").read_text().partition("# the build backend")[0]
    wanted = [name for name in study.split("\n")[1:] if name and name not in NOT_FOR_JOBS]
    version = re.fullmatch(r"python =(3\.\d+)", python)[1]
    locked = locked_versions(version)
    assert sorted(pins) == sorted(f"{CONDA_FORGE.get(name, name)} ={locked[name]}" for name in wanted)


def test_jobs_run_in_an_environment_that_snakemake_made_and_in_no_other(tmp_path):
    """Environments are pretended: their Python is Snakemake's own, and leaves a mark."""
    assert not runs_in(tmp_path / "users", made_by_snakemake=False)
    assert runs_in(tmp_path / "snakemakes", made_by_snakemake=True)


def runs_in(folder: Path, made_by_snakemake: bool) -> bool:
    """Whether a job runs the Python of the environment that is active."""
    (folder / "environment/bin").mkdir(parents=True)
    python = folder / "environment/bin/python"
    python.write_text(f'#!/bin/sh\ntouch {folder}/mark\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    if made_by_snakemake:
        (folder / "environment.env_setup_done").touch()
    answer = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1",
         "--configfile", str(ROOT / "studies/toy.yaml"), "--", "results/toy/tables/toy.csv"],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        env=os.environ | {"CONDA_PREFIX": f"{folder}/environment", "PATH": f"{python.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout
    return (folder / "mark").exists()
