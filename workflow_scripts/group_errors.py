"""What SLURM says of a group of jobs reaches the user, as what it says of a single one does.

Snakemake 9.27 drops the message of a group: that sbatch refused it, in sbatch's words, or how SLURM says it ended.
Where submitting fails before sbatch, the executor 2.8 asks a group for its rule, which it has not, and waits for ever.
"""

import sys
from typing import Any


def tell_of_groups() -> None:
    """Have groups that fail say why and count as failed, where Snakemake and its executor are as those versions are.

    Once: a workflow that has this one as a module, or several, calls it for each.
    """
    try:
        from snakemake.jobs import GroupJob
        from snakemake.logging import logger

        log_error = GroupJob.log_error
    except (ImportError, AttributeError):
        return
    if log_error.__module__ == __name__:
        return

    def log_error_and_message(group: Any, msg: str | None = None, *rest: Any, **others: Any) -> None:
        if msg:
            logger.error(f"Error in group {group.groupid}: {msg}")
        log_error(group, msg, *rest, **others)

    GroupJob.log_error = log_error_and_message
    # Imported where jobs go to SLURM, and slow to import.
    executor: Any = getattr(sys.modules.get("snakemake_executor_plugin_slurm"), "Executor", None)
    if executor is not None:
        _count_as_failed(executor)


def _count_as_failed(executor: Any) -> None:
    """Have a job that the executor cannot submit count as failed, with the reason, whatever goes wrong."""
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

    run_job = executor.run_job

    def run_job_or_fail(self: Any, job: Any) -> None:
        try:
            run_job(self, job)
        except Exception as error:  # in a thread that nobody asks how it ended
            reason = error.__context__ or error
            self._report_job_error_threadsafe(SubmittedJobInfo(job), f"It could not be submitted: {reason} ")

    executor.run_job = run_job_or_fail
