"""One trainer a run: a lock file beside its outputs."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mcoherence.errors import UserError
from mcoherence.files.atomic import naming

OPERATIONAL = True  # no number depends on it; docs/reruns.md

SECONDS_TO_WAIT = 30.0  # for another trainer of the same run to end


@contextmanager
def only_trainer(path: Path, seconds: float = SECONDS_TO_WAIT) -> Iterator[None]:
    """Holds the lock file `path` inside the block, so that no second process trains the same run.

    An orphan of a killed Snakemake is waited for, in case it is just leaving; the system frees the lock of a process
    that dies, however it dies.

    Raises:
        UserError: the other trainer is still there after `seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=seconds)
    try:
        _acquire(lock, path)
    except Timeout as error:
        raise UserError(
            f"{path}: another trainer of this run is at work ({_holder(path)}), expected none; wait for it or end it, "
            "then run again"
        ) from error
    try:
        with naming(path):
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        path.unlink(missing_ok=True)  # before it is let go: whoever waits for this file then makes a new one
        lock.release()


def _acquire(lock: FileLock, path: Path) -> None:
    """Take the lock; who has it is said in the log where it has to be waited for."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"waiting for {_holder(path)}, another trainer of this run, to end", file=sys.stderr, flush=True)
        lock.acquire(poll_interval=0.2)


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") or "unknown"
    except (OSError, ValueError):  # ValueError: no text
        return "unknown"
