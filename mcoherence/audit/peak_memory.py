"""Where a job that is a copy leaves its largest resident memory, which Snakemake cannot see.

Apart from job_records.py, for what starts a job imports it.
"""

from pathlib import Path


def peak_memory_file(log: Path) -> Path:
    """The file beside a job's log, in MiB."""
    return log.with_name(f"{log.name}.peak_mb")
