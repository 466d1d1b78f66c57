"""Print why jobs would run: for each, which setting, module or file changed since it ran last.

python -m workflow_scripts.why [arguments of snakemake, such as --configfile studies/mnist.yaml]
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mcoherence.audit.why import PlannedJob, causes, explain, last_run, recorded_code
from mcoherence.data.source_modules import SOURCES
from mcoherence.errors import UserError
from mcoherence.study.code_digest import digest_of, module_digests
from workflow_scripts.command_line import run

ROOT = Path(__file__).parents[1]
METADATA = Path(".snakemake/metadata")


def main() -> None:
    """Ask Snakemake for its plan, compare each job with the record of its last run, and say what changed."""
    explained = []
    for job in planned_jobs(sys.argv[1:]):
        last = next((found for found in (last_run(path, METADATA) for path in job.output) if found), None)
        modules_then = recorded_code(code_folder(job), last.digests) if last else None
        missing = [path for path in job.output if not Path(path).exists()]
        explained.append((job, causes(job, last, modules_then, missing)))
    print(explain(explained), end="")


def planned_jobs(arguments: list[str]) -> list[PlannedJob]:
    """The jobs of a dry run with these arguments, those that make files, in Snakemake's order."""
    with TemporaryDirectory() as scratch:
        lines = Path(scratch) / "jobs.jsonl"
        command = [
            sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--dry-run", "--quiet", "all",
            "--nolock", "--logger", "planned-jobs", "--logger-planned-jobs-file", str(lines), *arguments,
        ]  # fmt: skip
        logger = os.pathsep.join([str(ROOT / "workflow_scripts/logger"), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": logger}
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise UserError(f"snakemake --dry-run failed: {answer.stderr.strip().splitlines()[-1]}")
        rows = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    return [planned_job(row) for row in rows if row["command"] and row["output"]]


def planned_job(row: dict[str, Any]) -> PlannedJob:
    """A job as the logger wrote it down."""
    words = shlex.split(row["command"])
    settings = json.loads(words[words.index("--settings") + 1]) if "--settings" in words else {}
    names = re.findall(r"-m (workflow_scripts\.\w+)", row["command"])[-1:]  # the last: a launcher may stand before it
    names += [SOURCES[settings["source"]]] if row["rule"] == "prepare_dataset" else []
    codes = [module_digests(name, ROOT) for name in names]
    modules = {name: digest for code in codes for name, digest in code.items()}
    digests = tuple(map(digest_of, codes))
    return PlannedJob(row["rule"], row["output"], row["input"], settings, modules, digests, row["reason"])


def code_folder(job: PlannedJob) -> Path:
    """Where the study that a job belongs to keeps its record of code."""
    return Path(*Path(job.output[0]).parts[:2]) / "code"


if __name__ == "__main__":
    run(main)
