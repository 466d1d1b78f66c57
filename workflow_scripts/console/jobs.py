"""The jobs of a run as Snakemake planned them, and what the plan says of their time."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcoherence.audit.time_left import CORES, WeighedJob
from mcoherence.study.result_names import OTHER_SAMPLE
from mcoherence.study.results import ON_OTHER_SAMPLE, RESULTS

GPUS = "gpu"
# Seconds of jobs that the plan leaves out, by the beginnings of their rules' names, as measured with two at once on two
# cores. They count until a job of the kind has ended.
OTHERS = {
    "all": 0.1, "check_data": 3, "check_network": 6, "prepare_dataset": 5, "corrupt_labels": 1, "tabulate": 2,
    "draw": 5, "check_claims": 4, "describe_study": 3, "page": 8, "report": 12,
}  # fmt: skip
ANY_OTHER = 2.0  # of the others, and of those that train and measure until the plan has spoken
AXES = ("dataset", "model", "labels", "optimizer", "subset")
STAGES = {kind.stage: name for name, kind in RESULTS.items()}
PARTS = {f"{kind.command}_part" for kind in RESULTS.values()}

Seconds = Mapping[str, Mapping[str, float]]
"""What `mcoherence.audit.plan.job_seconds` returns."""


def planned_jobs(dag: Any, gpus: bool, ranks: int) -> tuple[dict[int, WeighedJob], dict[int, tuple[str, str]]]:
    """What Snakemake is going to run: number -> job, and of those that train or measure number -> (what, run).

    Args:
        dag: Snakemake's, once it is built.
        gpus: whether jobs that train or measure take a GPU each.
        ranks: processes of a training.
    """
    numbers = {job: int(job.jobid) for job in dag.needrun_jobs()}
    jobs, of_runs = {}, {}
    for job, number in numbers.items():
        rule, wildcards = job.rule.name, job.wildcards_dict
        made = made_of_run(rule, wildcards)
        if made is not None and not getattr(job.input, "parts", None):  # else it puts in place what parts made
            of_runs[number] = made
        processes = ranks if made is not None and made[0] == "train" else 1
        kind, seconds = other_kind(rule) if number not in of_runs else ("", ANY_OTHER)
        whose = [str(wildcards[axis]) for axis in ("dataset", "model") if axis in wildcards]
        jobs[number] = WeighedJob(
            kind or "/".join((made[0] if made else rule, *whose)),
            seconds,
            [numbers[other] for other in dag.job_dependencies(job) if other in numbers],
            {CORES: processes, GPUS: processes if gpus and number in of_runs else 0},
        )
    return jobs, of_runs


def made_of_run(rule: str, wildcards: Mapping[str, Any]) -> tuple[str, str] | None:
    """("train" or the name of a result, name of the run) of a job that trains or measures; None of any other.

    Example:
        >>> names = dict(dataset="digits", model="mlp", labels="clean", optimizer="sgd", subset="full", seed="0")
        >>> made_of_run("train_otherwise_2_from_300", names)
        ('train', 'digits/mlp/clean/sgd/full/seed0')
        >>> made_of_run("measure_sample_size", names | {"size": "500"})[0]
        'coherence_m500'
    """
    if rule.startswith("train"):
        what = "train"
    elif rule in STAGES:
        what = STAGES[rule]
    elif rule == ON_OTHER_SAMPLE:
        what = f"{OTHER_SAMPLE}{wildcards['size']}"
    elif rule in PARTS:
        what = str(wildcards["result"])
    else:
        return None
    return what, "/".join((*(str(wildcards[axis]) for axis in AXES), f"seed{wildcards['seed']}"))


def other_kind(rule: str) -> tuple[str, float]:
    """(kind, seconds) of a job that neither trains nor measures; figures are of one kind, and tables."""
    found = next((name for name in OTHERS if rule == name or rule.startswith(f"{name}_")), None)
    return (rule, ANY_OTHER) if found is None else (found, OTHERS[found])


def ask_plan(base: Path, config: str, answer: Callable[[Seconds], None]) -> subprocess.Popen[str]:
    """Ask in a process of its own, for torch counts operations, how long jobs take; returns it, to be ended with this.

    No copy is asked for (jobs/copy_client.py): what is copied would have this process's environment, and no job's.

    Args:
        base: folder of the workflow.
        config: of the study, as JSON.
        answer: called in another thread with what the plan says; not at all where it says nothing.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "workflow_scripts.job_seconds"],
        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(base)},
    )  # fmt: skip

    def hear() -> None:
        with suppress(ValueError, OSError, AttributeError):
            text, _ = process.communicate(config)
            seconds = json.loads(text)
            answer({what: dict(of_runs) for what, of_runs in seconds.items()})

    threading.Thread(target=hear, daemon=True).start()
    return process
