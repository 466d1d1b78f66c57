"""Resources that a job gets more of with every attempt, read as numbers so that they can be multiplied."""

import re
from collections.abc import Mapping
from math import ceil

from mcoherence.errors import UserError

IN_MEGABYTES = ("mem_mb", "mem_mb_per_cpu", "disk_mb")  # to Snakemake and its executors
GROWING = (*IN_MEGABYTES, "runtime")  # a retry was short of one of them, maybe
# Other spellings of these, of which a job would then have two.
OTHER_SPELLINGS = {"mem": "mem_mb", "mem_mib": "mem_mb", "disk": "disk_mb", "disk_mib": "disk_mb"}
MINUTES: Mapping[str, int] = {"": 1, "m": 1, "h": 60, "d": 24 * 60, "w": 7 * 24 * 60}

# Beyond what any machine has, and any job is allowed.
MOST_MEGABYTES, MOST_MINUTES = 10**8, 365 * 24 * 60


def amount(name: str, value: int | str) -> int:
    """How much of a growing resource a value stands for: megabytes, or the minutes of `runtime`.

    Raises:
        UserError: naming the key of `operational.training_resources`, what was found and what was expected.

    Example:
        >>> amount("runtime", "2d"), amount("mem_mb", "16000")
        (2880, 16000)
    """
    key, text = f"operational.training_resources.{name}", str(value).strip()
    if name != "runtime":
        if not re.fullmatch(r"[0-9]+", text, re.ASCII):
            raise UserError(f"{key}: found {value!r}, expected a whole number of megabytes, such as 16000")
        if int(text[:20]) > MOST_MEGABYTES:
            raise UserError(f"{key}: found {value!r}, expected at most {MOST_MEGABYTES} megabytes; lower it")
        return int(text)
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([mhdw]?)", text, re.ASCII)
    minutes = min(round(float(found[1][:20]) * MINUTES[found[2]]), MOST_MINUTES + 1) if found else 0
    if minutes < 1:
        raise UserError(f"{key}: found {value!r}, expected minutes, such as 240, or hours or days, such as 4h or 2d")
    if minutes > MOST_MINUTES:
        raise UserError(f"{key}: found {value!r}, expected a year at most, 365d; lower it")
    return minutes


def minutes_in_group(attempt: int, minutes: int, node: int | None, jobs: int, levels: int, at_once: int) -> int:
    """Minutes of one of the jobs of a group, so many at a try that the whole group takes no longer than a node allows.

    Snakemake adds up the rounds in which the jobs of a group run.

    Args:
        attempt: number of the try; each has as much again.
        minutes: of the first try.
        node: minutes that a job may take at most; None where nobody says.
        jobs: of the group, at most.
        levels: longest chain of jobs that wait for each other.
        at_once: jobs that a node has cores and memory for.

    Example:
        >>> minutes_in_group(2, 60, 1440, jobs=13, levels=2, at_once=8)  # 3 rounds at most, of 2 hours
        120
        >>> minutes_in_group(4, 60, 1440, jobs=13, levels=2, at_once=1)  # all of them one after the other
        110
    """
    if node is None:
        return attempt * minutes
    rounds = min(jobs, levels - 1 + ceil(jobs / max(1, at_once)))
    return max(1, min(attempt * minutes, node // rounds))


def held_to_node(
    given: Mapping[str, int | str], ranks: int, cores: int | None, memory: int | None
) -> tuple[dict[str, int | str], int | None]:
    """Resources of training with no more cores than a node has, and the MB per core that a job may ask for at most.

    Snakemake holds down what has the names of its limits, mem_mb and threads, and neither of these two.

    Args:
        given: `operational.training_resources`.
        ranks: processes of a training job, each with a core.
        cores: of a node; None where nobody says.
        memory: of a node, in MB; None where nobody says.

    Example:
        >>> held_to_node({"cpus_per_task": 14, "mem_mb_per_cpu": 4000}, 1, cores=8, memory=64000)
        ({'cpus_per_task': 8, 'mem_mb_per_cpu': 4000}, 8000)
    """
    held, wanted = dict(given), str(given.get("cpus_per_task", ranks)).strip()
    cpus = int(wanted) if re.fullmatch(r"[0-9]+", wanted, re.ASCII) else ranks
    if cores is not None and "cpus_per_task" in held and cpus > cores:
        held["cpus_per_task"] = cpus = cores
    return held, None if memory is None else max(1, memory // max(1, cpus))
