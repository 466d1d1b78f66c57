"""Print why jobs would run: for each, which setting, module or file changed since it ran last.

python -m workflow_scripts.why [arguments of snakemake, such as --configfile studies/mnist.yaml]
"""

import json
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mcoherence.audit.why import LastRun, Modules, PlannedJob, causes, explain, last_run, recorded_code
from mcoherence.errors import UserError
from mcoherence.models.architectures import NAMED, OWN, TORCHVISION
from mcoherence.optim.methods import METHODS
from mcoherence.study.code_digest import digest_of_modules, module_digests, package_digests
from workflow_scripts.jobs.entry import run

ROOT = Path(__file__).parents[1]
METADATA = Path(".snakemake/metadata")
# Modules that commands import by name, for what their job is about.
BY_NAME = (*NAMED.values(), TORCHVISION, OWN, *(f"mcoherence.optim.{method}" for method in METHODS))


def main() -> None:
    """Ask Snakemake for its plan, compare each job with the record of its last run, and say what changed."""
    explained = []
    for row in planned_rows(sys.argv[1:]):
        last = next((found for found in (last_run(path, METADATA) for path in row["output"]) if found), None)
        folder = code_folder(row["output"][0])
        job = planned_job(row, modules_by_name(last, folder) if last else [])
        modules_then = recorded_code(folder, last.digests) if last else None
        missing = [path for path in job.output if not Path(path).exists()]
        explained.append((job, causes(job, last, modules_then, missing)))
    print(explain(explained), end="")


def planned_rows(arguments: list[str]) -> list[dict[str, Any]]:
    """The jobs of a dry run with these arguments that make files, in Snakemake's order, as the logger has them."""
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
    return [row for row in rows if row["command"] and row["output"]]


def planned_job(row: dict[str, Any], by_name: list[str]) -> PlannedJob:
    """A job as the logger wrote it down, whose command imports these modules by name."""
    words = shlex.split(row["command"])
    settings = json.loads(words[words.index("--settings") + 1]) if "--settings" in words else {}
    names = re.findall(r"-m (workflow_scripts\.[\w.]+)", row["command"])[-1:]  # a launcher stands before
    names += [words[words.index("--module") + 1]] if "--module" in words else by_name
    codes = [digests_of(name) for name in names]
    codes += [package_digests(words[words.index("--package") + 1], ROOT)] if "--package" in words else []
    modules = {name: digest for code in codes for name, digest in code.items()}
    digests = tuple(map(digest_of_modules, codes))
    return PlannedJob(row["rule"], row["output"], row["input"], settings, modules, digests, row["reason"])


def modules_by_name(last: LastRun, folder: Path) -> list[str]:
    """The modules that the command of a job imported by name when it ran last, in the order of their digests.

    A digest of code that has changed since is known by the record of its modules; one without a record is passed over.
    """
    now, names = names_by_digest(), []
    for digest in last.digests[1:]:
        recorded: Modules = recorded_code(folder, [digest]) or {}
        names += [now[digest]] if digest in now else [name for name in now.values() if name in recorded]
    return names


@cache
def digests_of(module: str) -> dict[str, str]:
    """Module that this one reaches -> digest of its code; asked for by many jobs."""
    return module_digests(module, ROOT)


@cache
def names_by_digest() -> dict[str, str]:
    """Digest of its code as it is now -> module, for those that commands import by name."""
    return {digest_of_modules(digests_of(name)): name for name in BY_NAME}


def code_folder(output: str) -> Path:
    """Where the study that a file belongs to keeps its record of code."""
    return Path(*Path(output).parts[:2]) / "code"


if __name__ == "__main__":
    run(main)
