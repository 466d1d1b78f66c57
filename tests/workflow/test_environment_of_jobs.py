"""Jobs run in the environment that Snakemake has made for them, and in no other."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
