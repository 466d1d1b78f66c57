"""Files that are whole where they exist: written under a temporary name, flushed to disk, and renamed.

What is handed over here are bytes that are made elsewhere.
"""

import errno
import glob
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

OPERATIONAL = True  # no number depends on it; docs/reruns.md

SECONDS_WRITTEN_AT_MOST = 2 * 24 * 3600  # by a process of another machine, whose end cannot be seen from here
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`; renamed to `path` when the block ends well, removed when it does not.

    What killed writers of `path` left is removed first.

    Raises:
        OSError: it cannot be written; with the name of `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    _remove_left(path)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno in OF_THE_DISK and error.filename in (None, str(temporary)):  # which is not there any more
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What the disk refuses in the block carries the name of the file, which a write alone does not know.

    Raises:
        OSError: as it was raised, with the name of `path` where it had none.
    """
    try:
        yield
    except OSError as error:
        if error.errno in OF_THE_DISK and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _remove_left(path: Path) -> None:
    """Remove the temporary files of writers of `path` that were killed: nobody else ever would."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        host, _, process = left.name.removeprefix(f".{path.name}.").removesuffix(".tmp").rpartition(".")
        with suppress(OSError, ValueError):
            of_here = host == socket.gethostname()
            alive = _is_alive(int(process)) if of_here else time.time() - left.stat().st_mtime < SECONDS_WRITTEN_AT_MOST
            if not alive:
                left.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def copy_file(source: Path, target: Path) -> None:
    """Copy a file atomically."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
