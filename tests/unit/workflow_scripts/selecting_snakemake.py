"""Snakemake that, in place of a dry run, says how many jobs its scheduler would send to a cluster at once.

`python selecting_snakemake.py ARGUMENT ...`: of all jobs that are to be made, taken as ready. A dry run itself counts
what jobs ask for as if they ran on this machine.
"""

from snakemake.cli import main
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.workflow import Workflow


def select(scheduler):
    """Print how many are chosen."""
    Workflow.local_exec = property(lambda workflow: False)
    jobs = list(scheduler.workflow.dag.needrun_jobs())
    for job in jobs:
        job._scheduler_resources = None
    print(f"selected {len(scheduler.job_selector(jobs))} of {len(jobs)}")
    return True


JobScheduler.schedule = select
main()
