"""What is known of a job that ran: wall time and memory, from Snakemake's benchmark file and what is beside its log.

Imports nothing heavy.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from mcoherence.audit.peak_memory import peak_memory_file
from mcoherence.errors import UserError


@dataclass(frozen=True)
class JobRecord:
    """One job."""

    seconds: float  # wall time
    peak_mb: float  # largest resident memory in MiB; NaN where it is unknown
    is_copy: bool  # started as a copy of a process that had imported what it needs (jobs/copy_client.py)


def read_record(results: Path, job: Path) -> JobRecord:
    """The record of a job of a study.

    Snakemake samples the memory of what a job's shell started, about once a second: that of shorter jobs is unknown,
    and of copies it sees nothing.

    Args:
        results: folder of the study.
        job: name of the job's files below its folders `benchmarks` and `logs`, without ending.

    Raises:
        UserError: what is recorded is damaged.
    """
    path = results / "benchmarks" / f"{job}.tsv"
    try:
        return _read_record(path, peak_memory_file(results / "logs" / f"{job}.log"))
    except (ValueError, TypeError, LookupError, StopIteration, csv.Error) as error:
        raise UserError(
            f"{path}: damaged ({error!r}), expected the times of a job as Snakemake writes them; delete the file, then "
            "they are left out"
        ) from error


def _read_record(path: Path, of_copy: Path) -> JobRecord:
    with path.open(encoding="utf-8") as file:
        row = next(csv.DictReader(file, delimiter="\t"))
    seconds = float(row["s"])
    if of_copy.is_file():
        return JobRecord(seconds, float(of_copy.read_text()), is_copy=True)
    sampled = row.get("max_rss", "-")
    known = seconds >= 1 and sampled not in ("-", "NA", "")
    return JobRecord(seconds, float(sampled) if known else math.nan, is_copy=False)
