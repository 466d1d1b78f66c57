"""Why jobs failed: the message in a job's log, which causes are equal, and what to say of all at the end."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

READ_AT_MOST = 65536  # bytes, of the end of a log
SHOWN_AT_MOST = 600  # characters, of a message
SAID_BY_US = "error: "
PATHS_AND_NUMBERS = re.compile(r"[\w.~-]*/[^\s,;:'\"()]*|\d+")
# What a log may end with besides the reason: torch's launcher, Snakemake in a job of a cluster.
AFTERWARDS = re.compile(
    r"^(launch: |Exiting because|WorkflowError:$|At least one job did not complete|Complete log|Elapsed time|srun: |"
    r"slurmstepd: |Shutting down, this|Storing output in storage\.|\s*$)"
)


def message_of(logs: Iterable[str], since: float = 0.0) -> tuple[str, str]:
    """(message, log that it stands in) of a job that failed: its last line that begins with "error: ", else its last.

    Args:
        logs: files, the job's own first; missing ones are passed over.
        since: time of the clock before which a log is that of an earlier run, which says nothing of this one.

    Returns:
        Message "" where no log says anything.
    """
    last = ("", "")
    for log in logs:
        lines = [line for line in _end_of(log, since) if not AFTERWARDS.match(line)]
        said = next((line for line in reversed(lines) if line.startswith(SAID_BY_US)), None)
        if said is not None:
            return _shown(said), log
        if lines and not last[0]:
            last = (_shown(lines[-1]), log)
    return last


def silence(log: str | None) -> str:
    """Why a log says nothing, as far as that can be told: a full disk takes no log.

    Args:
        log: the file; None where there is none.
    """
    folder = next((parent for parent in Path(log).absolute().parents if parent.is_dir()), None) if log else None
    try:
        room = None if folder is None else os.statvfs(folder).f_bavail
    except OSError:
        room = None
    if room == 0:
        return f"its log says nothing, and there is no room left on the disk of {folder}; make room, and run again"
    return "its log says nothing"


def cause(message: str) -> str:
    """What equal causes have in common: the message without paths and numbers, which differ from job to job.

    Example:
        >>> cause("error: runs/seed3/labels.h5: damaged") == cause("error: runs/seed11/labels.h5: damaged")
        True
    """
    return PATHS_AND_NUMBERS.sub("_", message)


@dataclass
class _Cause:
    message: str
    jobs: int = 0


@dataclass
class Failures:
    """Jobs of a run that failed and were not tried again, by their numbers."""

    _causes: dict[str, _Cause] = field(default_factory=dict)
    _of_jobs: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._of_jobs)

    def add(self, number: int, message: str) -> bool:
        """Take down that a job failed, and why: the latest reason. Whether none failed for an equal one before."""
        self.take_back(number)
        key = cause(message)
        self._of_jobs[number] = key
        is_new = key not in self._causes
        self._causes.setdefault(key, _Cause(message)).jobs += 1
        return is_new

    def take_back(self, number: int) -> None:
        """Of a job that is tried again."""
        key = self._of_jobs.pop(number, None)
        if key is not None:
            self._causes[key].jobs -= 1

    def lines(self) -> list[str]:
        """How many jobs failed for each reason, in the order of the first."""
        return [f"    {jobs_in_words(one.jobs)}: {one.message}" for one in self._causes.values() if one.jobs]


def jobs_in_words(number: int) -> str:
    """Such as "1 job" or "1,204 jobs"."""
    return f"{number:,} job" if number == 1 else f"{number:,} jobs"


def _end_of(log: str, since: float) -> list[str]:
    """The last lines of a file; none where it cannot be read, or is older."""
    try:
        with Path(log).open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_mtime < since:
                return []
            file.seek(max(0, found.st_size - READ_AT_MOST))
            return file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _shown(line: str) -> str:
    text = "".join(character if character.isprintable() else " " for character in line).strip()
    return text if len(text) <= SHOWN_AT_MOST else f"{text[:SHOWN_AT_MOST]} ..."
