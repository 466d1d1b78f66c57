"""How many processes read batches ahead, and how many batches each: what they hold lies in shared memory, /dev/shm.

Light, as the plan reads it too.
"""

import os

OPERATIONAL = True  # no number depends on it; docs/reruns.md

BATCHES, BYTES = 4, 2**28  # that a process reads ahead at most, but one batch at least
SHARED_MEMORY = "/dev/shm"


def read_ahead(workers: int, batch_bytes: int, room: float) -> tuple[int, int]:
    """Processes, at most `workers`, and batches of each that fit in the room together; no process where none fits.

    Args:
        workers: processes that there may be.
        batch_bytes: of the pixels of one batch.
        room: bytes for all of them.

    Example:
        >>> read_ahead(2, 2**20, 2**30), read_ahead(2, 2**27, 2**30), read_ahead(2, 2**27, 2**28)
        ((2, 4), (2, 2), (2, 1))
    """
    batches = min(BATCHES, max(1, BYTES // max(1, batch_bytes)))
    while workers * batches * batch_bytes > room:
        workers, batches = (workers, batches - 1) if batches > 1 else (workers - 1, 1)
    return workers, batches


def shared_room() -> float:
    """Bytes of shared memory that this process may fill: its rank's share of half of what is free; else no bound."""
    try:
        there = os.statvfs(SHARED_MEMORY)
    except OSError:
        return float("inf")
    return there.f_bavail * there.f_frsize / 2 / int(os.environ.get("WORLD_SIZE", "1"))
