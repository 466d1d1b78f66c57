"""Under the profile for SLURM, Snakemake's own scheduler sends as many jobs at once as the documentation says."""

import subprocess
import sys
from pathlib import Path

import yaml

PROFILE = Path(__file__).parents[3] / "profiles/slurm"
SELECTING = Path(__file__).with_name("selecting_snakemake.py")
# Trainings, as the rules ask for them on nodes of 64 GB and a day: a fifth of the memory, two hours or all of the day.
SNAKEFILE = """
rule all:
    input: expand("{number}.trained", number=range(230))
    localrule: True

rule train:
    output: "{number}.trained"
    threads: 1
    resources: mem_mb=12000, runtime=lambda w: 1440 if int(w.number) % 2 else 120
    shell: "touch {output}"
"""


def selected(folder, *arguments):
    """How many of 230 trainings the scheduler takes together."""
    (folder / "Snakefile").write_text(SNAKEFILE)
    targets = [f"{number}.trained" for number in range(230)]
    answer = subprocess.run(
        [sys.executable, str(SELECTING), "--dry-run", "--workflow-profile", str(PROFILE), *arguments, "--", *targets],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    [line] = [line for line in answer.stdout.splitlines() if line.startswith("selected")]
    assert line.endswith(" of 230")
    return int(line.split()[1])


def test_as_many_jobs_run_at_once_as_the_profile_says(tmp_path):
    assert selected(tmp_path) == yaml.safe_load((PROFILE / "config.yaml").read_text())["jobs"] == 200


def test_a_limit_by_the_name_of_runtime_would_let_a_dozen_run(tmp_path):
    assert selected(tmp_path, "--resources", "mem_mb=64000", "runtime=1440") <= 12
