"""What SLURM says of a group of jobs reaches the user, as what it says of a single one does.

Snakemake 9.27 drops the message of a group: that sbatch refused it, in sbatch's words, or how SLURM says it ended.
"""

from typing import Any


def tell_of_groups() -> None:
    """Have Snakemake print the message of a group that fails, where its groups are those of 9.27."""
    try:
        from snakemake.jobs import GroupJob
        from snakemake.logging import logger

        log_error = GroupJob.log_error
    except (ImportError, AttributeError):
        return

    def log_error_and_message(group: Any, msg: str | None = None, *rest: Any, **others: Any) -> None:
        if msg:
            logger.error("Error in group %s: %s", group.groupid, msg)
        log_error(group, msg, *rest, **others)

    GroupJob.log_error = log_error_and_message
