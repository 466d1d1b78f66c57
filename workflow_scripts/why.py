"""Print why jobs would run: for each, which setting, module or file changed since it ran last.

python -m workflow_scripts.why [arguments of snakemake, such as --configfile studies/mnist.yaml]
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mcoherence.audit.comparison import Job, misfit, told_by
from mcoherence.audit.origins import Origins
from mcoherence.audit.why import LastRun, PlannedJob, causes, digests_in, explain, last_run, recorded_code
from mcoherence.errors import UserError
from mcoherence.files.canonical import canonical_json
from mcoherence.models.architectures import NAMED, OWN, TORCHVISION
from mcoherence.optim.methods import METHODS
from mcoherence.study.code_digest import digest_of_modules, module_digests, package_digests
from workflow_scripts.comparing import KEPT
from workflow_scripts.jobs.entry import run

ROOT = Path(__file__).parents[1]
METADATA = Path(".snakemake/metadata")
# Modules that commands import by name, for what their job is about, and commands that put parts together.
BY_NAME = (
    *(f"mcoherence.optim.{method}" for method in METHODS),
    *(*NAMED.values(), TORCHVISION, OWN),
    *(f"workflow_scripts.{name}" for name in ("add_shards", "join_measurement", "join_evaluation")),
)


def main() -> None:
    """Ask Snakemake for its plan, compare each job with what made its files, and say what changed."""
    explained = []
    origins: dict[Path, Origins] = {}
    for row in planned_rows(sys.argv[1:]):
        results = study_folder(row["output"][0])
        job = planned_job(row)
        if results not in origins:
            origins[results] = Origins(results / KEPT)
        last, complaints = last_made(job, code_option(row), origins[results], results)
        modules_then = recorded_code(results / "code", last.digests) if last and last.digests else None
        missing = [path for path in job.output if not Path(path).exists()]
        explained.append((job, causes(job, last, modules_then, missing, complaints)))
    print(explain(explained), end="")


def last_made(job: PlannedJob, code: str, origins: Origins, results: Path) -> tuple[LastRun | None, Sequence[str]]:
    """What made the files of a job, by their own words or else by Snakemake's record, and what is wrong with them."""
    record = next((found for found in (last_run(path, METADATA) for path in job.output) if found), None)
    planned = Job(job.rule, job.output, job.input, canonical_json(job.settings), code)
    told = list(told_by(planned, origins, results).values())
    one = next((one for one in told if misfit(planned, one)), told[0] if told else None)
    if one is None:
        return record, ()
    if not one.settings:
        return None, one.complaints
    inputs = record.input if record else frozenset(job.input)
    return LastRun(json.loads(one.settings), digests_in(one.code), inputs), one.complaints


def planned_rows(arguments: list[str], snakemake: Sequence[str] = ("-m", "snakemake")) -> list[dict[str, Any]]:
    """The jobs of a dry run with these arguments that make files, in Snakemake's order, as the logger has them.

    Args:
        arguments: for Snakemake.
        snakemake: what Python is asked to run as Snakemake.
    """
    with TemporaryDirectory() as scratch:
        lines = Path(scratch) / "jobs.jsonl"
        command = [
            sys.executable, *snakemake, "--snakefile", str(ROOT / "Snakefile"), "--dry-run", "--quiet", "all",
            "--nolock", "--logger", "planned-jobs", "--logger-planned-jobs-file", str(lines), *arguments,
        ]  # fmt: skip
        logger = os.pathsep.join([str(ROOT / "workflow_scripts/logger"), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": logger}
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise UserError(f"snakemake --dry-run failed: {answer.stderr.strip().splitlines()[-1]}")
        rows = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    return [row for row in rows if row["command"] and row["output"]]


def planned_job(row: dict[str, Any]) -> PlannedJob:
    """A job as the logger wrote it down."""
    words = shlex.split(row["command"])
    settings = json.loads(words[words.index("--settings") + 1]) if "--settings" in words else {}
    names = re.findall(r"-m (workflow_scripts\.[\w.]+)", row["command"])[-1:]  # a launcher stands before
    names += [words[words.index("--module") + 1]] if "--module" in words else []
    names += [f"{words[words.index('--package') + 1]}.*"] if "--package" in words else []
    digests = digests_in(code_option(row))
    now = {digest_of_modules(code_below(name)): name for name in names}
    if set(digests) - now.keys():
        now |= {digest_of_modules(code_below(name)): name for name in BY_NAME}
    modules = {name: digest for one in digests if one in now for name, digest in code_below(now[one]).items()}
    return PlannedJob(row["rule"], row["output"], row["input"], settings, modules, digests, row["reason"])


def code_option(row: dict[str, Any]) -> str:
    """The digest of the code that a job's command is given."""
    words = shlex.split(row["command"])
    return words[words.index("--code") + 1] if "--code" in words else ""


@cache
def code_below(module: str) -> dict[str, str]:
    """Module that this one, or "package.*", reaches -> digest of its code; asked for by many jobs."""
    package = module.removesuffix(".*")
    return module_digests(module, ROOT) if package == module else package_digests(package, ROOT)


def study_folder(output: str) -> Path:
    """The folder of the study that a file belongs to."""
    return Path(*Path(output).parts[:2])


if __name__ == "__main__":
    run(main)
