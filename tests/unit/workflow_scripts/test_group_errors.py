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
