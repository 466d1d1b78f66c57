"""What SLURM says of a group of jobs reaches the user, as what it says of a single one does.

Snakemake 9.27 drops the message of a group: that sbatch refused it, in sbatch's words, or how SLURM says it ended.
Where submitting fails before sbatch, the executor 2.8 asks a group for its rule, which it has not, and waits for ever.
"""

import subprocess
import sys
import threading
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
    plugin: Any = sys.modules.get("snakemake_executor_plugin_slurm")
    if plugin is not None and hasattr(plugin, "Executor"):
        now = _Submission()
        _follow(plugin, now)
        _count_as_failed(plugin.Executor, now)


class _Submission(threading.local):
    """Of the job that this thread submits: its number once SLURM has taken it, and whether its end is waited for."""

    jobid: str | None = None
    followed = False


def _follow(plugin: Any, now: _Submission) -> None:
    """Have no job count as failed that SLURM has taken: Snakemake would send another one while the first runs.

    The executor reports every error after sbatch as if nothing had been submitted. A job whose end it follows by then
    has not failed; any other is cancelled first.
    """
    executor = plugin.Executor
    try:
        number_of = plugin.validate_or_get_slurm_job_id
        report, report_error = executor._report_job_submission_threadsafe, executor._report_job_error_threadsafe
    except AttributeError:  # another version
        return

    def number_kept(*arguments: Any) -> str:
        now.jobid = found = str(number_of(*arguments))
        return found

    def report_kept(self: Any, info: Any) -> None:
        report(self, info)
        now.followed = True

    def report_error_of_this(self: Any, info: Any, message: str) -> None:
        if now.jobid is not None and now.followed:
            self.logger.error(f"SLURM has taken the job as {now.jobid}, and it is waited for, though: {message}")
            return
        if now.jobid is not None:
            subprocess.run(["scancel", now.jobid], check=False, capture_output=True)
            message = f"{message} SLURM had taken it as job {now.jobid}, which was cancelled. "
        report_error(self, info, message)

    plugin.validate_or_get_slurm_job_id = number_kept
    executor._report_job_submission_threadsafe = report_kept
    executor._report_job_error_threadsafe = report_error_of_this


def _count_as_failed(executor: Any, now: _Submission) -> None:
    """Have a job that the executor cannot submit count as failed, with the reason, whatever goes wrong."""
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

    run_job = executor.run_job

    def run_job_or_fail(self: Any, job: Any) -> None:
        now.jobid, now.followed = None, False
        try:
            run_job(self, job)
        except Exception as error:  # in a thread that nobody asks how it ended
            reason = error.__context__ or error
            self._report_job_error_threadsafe(SubmittedJobInfo(job), f"It could not be submitted: {reason} ")
        finally:  # the thread submits others, and arrays of jobs
            now.jobid, now.followed = None, False

    executor.run_job = run_job_or_fail
