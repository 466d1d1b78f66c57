"""Which rule makes a file is found sooner than by Snakemake itself, and is the rule that Snakemake finds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Before the dry run begins: every file of every job, and some that no rule or another one makes, asked both ways.
ASK = """
import json, sys
from pathlib import Path
from snakemake.cli import main
from snakemake.scheduling.job_scheduler import JobScheduler

out, schedule = Path(sys.argv.pop(1)), JobScheduler.schedule

def compare_and_schedule(scheduler):
    dag = scheduler.workflow.dag
    files = {str(file) for job in dag.jobs for file in (*job.input, *job.output, *job.log, job.benchmark or "")}
    files |= {change(file) for file in sorted(files)[::7] for change in (str.upper, lambda file: f"{file}x",
              lambda file: file[1:], lambda file: file.replace("/seed0/", "/seed77/"))}
    others = [file for file in files if {rule.name for rule in dag.rules if rule.is_producer(file)}
              != {rule.name for rule in dag.output_index.match_producers(file)}]
    makers = {rule.name for file in files for rule in dag.output_index.match_producers(file)}
    known = type(dag.output_index).patterns is None and dag.output_index.patterns is not None
    found = {"sooner": known, "files": len(files), "others": others, "makers": sorted(makers)}
    out.write_text(json.dumps(found))
    return schedule(scheduler)

JobScheduler.schedule = compare_and_schedule
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("config", ["config.yaml", "tests/workflow/miniature.yaml"])
def test_the_rules_found_are_those_that_snakemake_finds(config, tmp_path):
    arguments = ["--snakefile", ROOT / "Snakefile", "--directory", tmp_path, "--configfile", ROOT / config]
    answer = subprocess.run(
        [sys.executable, "-c", ASK, tmp_path / "found.json", *arguments, "--dry-run", "--quiet", "all"],
        text=True, capture_output=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["sooner"]
    assert found["others"] == []
    assert found["files"] > 400
    assert {"train", "evaluate", "measure_coherence", "tabulate", "report"} <= set(found["makers"])
    assert any(name.startswith(("train_otherwise", "train_from")) for name in found["makers"])
