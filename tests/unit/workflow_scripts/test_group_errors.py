"""What an executor says of a group of jobs is printed, and what Snakemake says of it as before."""

import logging
import sys
from types import SimpleNamespace

import pytest
import snakemake.jobs
from snakemake.logging import logger

from workflow_scripts.group_errors import tell_of_groups

WORDS = "SLURM sbatch failed. The error message was 'sbatch: error: CPU count per node can not be satisfied'."


@pytest.fixture
def group(monkeypatch):
    """As much of one of Snakemake's groups as is asked for: no jobs, a name, and what it does on an error."""
    fields = {"groupid": "tables", "jobs": frozenset(), "log_error": snakemake.jobs.GroupJob.log_error}
    monkeypatch.setattr(snakemake.jobs, "GroupJob", type("Group", (), fields))
    return snakemake.jobs.GroupJob()


def test_the_message_of_a_group_is_printed_before_what_snakemake_says_of_it(group, monkeypatch, caplog):
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.ERROR, logger=logger.name):
        group.log_error(WORDS)
        assert WORDS not in caplog.text  # the reason for this module; it can go where Snakemake prints it
        caplog.clear()
        tell_of_groups()
        tell_of_groups()  # of a second module
        group.log_error(WORDS, aux_logs=["slurm.log"])
    message, error = caplog.records
    assert message.msg == f"Error in group tables: {WORDS}"  # Snakemake prints this, and fills nothing in
    assert (error.getMessage(), error.aux_logs) == ("Error in group tables", ["slurm.log"])


class Executor:
    """As much of SLURM's executor: it fails before sbatch, and again as it says so of a group."""

    def __init__(self):
        self.failed = []

    def run_job(self, job):
        try:
            raise OSError("sinfo: error: Unable to contact slurm controller")
        except OSError:
            print(job.rule.name)

    def _report_job_error_threadsafe(self, info, message):
        self.failed.append((info.job, message))


def test_a_group_that_cannot_be_submitted_fails_with_the_reason(group, monkeypatch):
    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_slurm", SimpleNamespace(Executor=Executor))
    tell_of_groups()
    executor = Executor()
    executor.run_job(group)
    reason = "It could not be submitted: sinfo: error: Unable to contact slurm controller "
    assert executor.failed == [(group, reason)]


class LateExecutor:
    """As much of SLURM's executor: sbatch takes the job as number 71, then something goes wrong, before or after it is
    on the list of those whose end is asked for."""

    def __init__(self, on_the_list):
        self.on_the_list, self.submitted, self.failed = on_the_list, [], []
        self.logger = logger

    def run_job(self, job):
        try:
            number = sys.modules["snakemake_executor_plugin_slurm"].validate_or_get_slurm_job_id("71", "")
            if self.on_the_list:
                self._report_job_submission_threadsafe(SimpleNamespace(job=job, external_jobid=number))
            raise OSError("no space left on device")
        except OSError:
            print(job.rule.name)

    def _report_job_submission_threadsafe(self, info):
        self.submitted.append(info.job)

    def _report_job_error_threadsafe(self, info, message):
        self.failed.append((info.job, message))


@pytest.mark.parametrize("on_the_list", [False, True])
def test_a_job_that_slurm_has_taken_is_cancelled_or_waited_for_and_never_sent_twice(group, monkeypatch, on_the_list):
    cancelled = []
    executor_class = type("Executor", (LateExecutor,), dict(LateExecutor.__dict__))
    plugin = SimpleNamespace(Executor=executor_class, validate_or_get_slurm_job_id=lambda number, out: number)
    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_slurm", plugin)
    monkeypatch.setattr("subprocess.run", lambda command, **_: cancelled.append(command))
    tell_of_groups()
    executor = executor_class(on_the_list)
    executor.run_job(group)
    if on_the_list:
        assert (executor.submitted, executor.failed, cancelled) == ([group], [], [])
    else:
        assert cancelled == [["scancel", "71"]]
        reason = (
            "It could not be submitted: no space left on device  SLURM had taken it as job 71, which was cancelled. "
        )
        assert executor.failed == [(group, reason)]
    executor._report_job_error_threadsafe(SimpleNamespace(job=group), "it failed later")
    assert executor.failed[-1] == (group, "it failed later")
