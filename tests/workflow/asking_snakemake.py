"""Snakemake that, before a dry run, writes down what each job and group would ask a cluster for, try by try.

`python asking_snakemake.py FILE ARGUMENT ...`: a line of JSON in FILE for each, then what Snakemake does with the
arguments. A dry run itself adds up what a group asks for as if it ran on this machine.
"""

import json
import sys
from pathlib import Path

from snakemake.cli import main
from snakemake.resources import GroupResources
from snakemake.scheduling.job_scheduler import JobScheduler

FILE, TRIES = Path(sys.argv.pop(1)), (1, 2, 3, 4)
schedule = JobScheduler.schedule


def asked(job, attempt):
    """Cores, memory in MB and minutes that a job or a group asks for."""
    job.attempt = attempt
    job.reset_params_and_resources()
    resources = dict(job.resources.items()) if not job.is_group() else None
    if resources is None:
        job.finalize()
        resources = GroupResources.basic_layered(job.toposorted, job.global_resources, run_local=False)
    return {"cores": resources["_cores"], "mem_mb": resources["mem_mb"], "runtime": resources["runtime"]}


def write_and_schedule(scheduler):
    """What is asked for, of what is not run beside Snakemake; then the dry run."""
    workflow = scheduler.workflow
    local = {rule.name for rule in workflow.rules if rule.name in workflow._localrules or rule.norun}
    jobs = {workflow.dag.get_job_group(job) or job for job in workflow.dag.needrun_jobs() if job.rule.name not in local}
    with FILE.open("w") as file:
        for job in jobs:
            rules = sorted(each.rule.name for each in (job.jobs if job.is_group() else [job]))
            print(json.dumps({"rules": rules, "tries": [asked(job, attempt) for attempt in TRIES]}), file=file)
            asked(job, 1)
    return schedule(scheduler)


JobScheduler.schedule = write_and_schedule
main()
