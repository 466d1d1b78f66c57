"""GPUs of one machine shared out between jobs that know nothing of each other, by file locks.

Snakemake counts GPUs but does not say which one is whose, and a lock is let go however its process dies. Nothing
heavy is imported: a lease is taken before torch looks for GPUs.
"""

import fcntl
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path

from mcoherence.errors import UserError

OPERATIONAL = True  # no number depends on it; docs/reruns.md

SECONDS_BETWEEN_TRIES = 0.2


def candidates(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs that may be leased, as CUDA_VISIBLE_DEVICES names them: those it lists, or all of the machine.

    All are those that nvidia-smi lists, by number, or by name the parts of a GPU that is cut up (MIG). None without it.
    """
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",") if name.strip()]
        return names[: names.index("-1")] if "-1" in names else names  # CUDA ignores what follows an invalid one
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], text=True, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    gpus: dict[str, list[str]] = {}
    for line in listed.splitlines():
        if whole := re.match(r"GPU (\d+):", line):
            gpus[whole[1]] = []
        elif part := re.search(r"UUID: (MIG-[^)]+)\)", line):
            gpus[list(gpus)[-1]].append(part[1])
    return [name for gpu, parts in gpus.items() for name in (parts or [gpu])]


def lock_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the locks of this machine are, writable by every user; those of a SLURM job are its own.

    Jobs of SLURM never share a GPU, and each may call its own by the same number.
    """
    job = environment.get("SLURM_JOB_ID")
    return Path(tempfile.gettempdir(), f"mcoherence-gpus-slurm-{job}" if job else "mcoherence-gpus")


def lease(count: int, gpus: list[str], folder: Path, jobs_per_gpu: int = 1) -> list[str]:
    """Wait for `count` of the GPUs and hold them until this process ends, and whatever it turns into by exec.

    Args:
        count: GPUs to hold.
        gpus: their names, as in CUDA_VISIBLE_DEVICES.
        folder: holds the lock files; the same for all who share the GPUs.
        jobs_per_gpu: jobs that may hold one GPU at a time.

    Raises:
        UserError: there are fewer than `count` GPUs.
    """
    if count > len(gpus):
        raise UserError(
            f"operational.ranks: found {count}, expected at most the {len(gpus)} GPUs that a job may use here "
            f"({', '.join(gpus)}); lower it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(0o777)  # for every user, whatever the umask
    held: dict[str, int] = {}
    # Who is first in the queue gathers its GPUs alone, so that no two jobs wait for what the other one holds.
    queue = _open(folder / "queue.lock")
    fcntl.flock(queue, fcntl.LOCK_EX)
    while len(held) < count:
        for place, gpu in product(range(jobs_per_gpu), gpus):  # an idle GPU before one that is shared
            if gpu not in held and len(held) < count:
                file = _open(folder / f"gpu{re.sub('[^A-Za-z0-9-]', '_', gpu)}.{place}.lock")
                if _locked(file):
                    os.set_inheritable(file, True)
                    held[gpu] = file
                else:
                    os.close(file)
        if len(held) < count:
            time.sleep(SECONDS_BETWEEN_TRIES)
    os.close(queue)
    return [gpu for gpu in gpus if gpu in held]


def _open(path: Path) -> int:
    """The lock file, open; made where it is missing."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    if os.fstat(file).st_uid == os.geteuid():
        os.fchmod(file, 0o666)
    return file


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
