"""Resources that a job gets more of with every attempt, read as numbers so that they can be multiplied."""

import re
from collections.abc import Mapping

from mcoherence.errors import UserError

IN_MEGABYTES = ("mem_mb", "mem_mb_per_cpu", "disk_mb")  # to Snakemake and its executors
GROWING = (*IN_MEGABYTES, "runtime")  # a retry was short of one of them, maybe
# Other spellings of these, of which a job would then have two.
OTHER_SPELLINGS = {"mem": "mem_mb", "mem_mib": "mem_mb", "disk": "disk_mb", "disk_mib": "disk_mb"}
MINUTES: Mapping[str, int] = {"": 1, "m": 1, "h": 60, "d": 24 * 60, "w": 7 * 24 * 60}


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
        return int(text)
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([mhdw]?)", text, re.ASCII)
    minutes = round(float(found[1]) * MINUTES[found[2]]) if found else 0
    if minutes < 1:
        raise UserError(f"{key}: found {value!r}, expected minutes, such as 240, or hours or days, such as 4h or 2d")
    return minutes
