"""What is wrong with a file that is there, as errors that say which file and which kind of wrong.

A reader knows that a file is not what it expects, and tells the way out for a file of this project. Whether the file is
one of this project at all is asked by those who tell the user (`mcoherence.files.whose`).
"""

import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from mcoherence.errors import UserError, first_line

OPERATIONAL = True  # no number depends on it; docs/reruns.md


# The way out of a file of a study that is not as it was written: the next start makes what is missing (`everything` in
# rules/common.smk). No command is named, for it would have to name the study's config as well.
REMEDY = "delete the file and run again"

# What the system refuses, whatever is asked of it: number of the error -> what was expected; the way out.
REFUSALS = {
    errno.ENOSPC: "expected room for it on that disk; make room and run again",
    errno.EDQUOT: "expected room within this user's quota; make room and run again",
    errno.EFBIG: "expected a file of that size to be allowed; raise the limit (ulimit -f), or take another disk",
    errno.EROFS: "expected a disk that may be written to; mount it so, or work in another folder",
    errno.EACCES: "expected that this user may read and write there; change the permissions, or work in another folder",
    errno.EPERM: "expected that this user may read and write there; change the permissions, or work in another folder",
    errno.EIO: "expected a disk that answers; look at the disk, or at the network that it is on, and run again",
    errno.ESTALE: "expected a disk that answers; look at the network that it is on, and run again",
    errno.EMFILE: "expected fewer open files to be enough; raise the limit (ulimit -n) and run again",
    errno.ENFILE: "expected fewer open files on this machine; end other programs and run again",
    errno.ENAMETOOLONG: "expected a shorter path; work in another folder, or give shorter names",
    errno.ENOMEM: "expected memory for it; end other programs, or run fewer jobs at once",
    errno.EISDIR: "expected a file, and there is a folder; move it away and run again",
    errno.ENOTDIR: "expected a folder on the way there, and there is a file; move it away and run again",
    errno.ENOLCK: "expected a file system with locks; work on another one",
}
ROOM = 2**26  # bytes: a disk with more is not the one that was full
OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)  # which is that of some folder


def refusal_of_system(error: OSError) -> str | None:
    """One line about what the system refused: a full disk, a folder without permission; None for others."""
    if error.errno not in REFUSALS:
        return None
    where = error.filename or (_written_in(error.errno) if error.errno in OF_A_DISK else "")
    refused = f"refused by the system ({error.strerror or first_line(error)}), {REFUSALS[error.errno]}"
    return f"{where}: {refused}" if where else refused


def _written_in(number: int) -> str:
    """Where a program was writing that the system refused without a name: "" where that cannot be known.

    That is the working folder or the one for temporary files: of a full disk the one that has no room, of a quota or a
    limit, of which nothing can be asked, both.
    """
    temporary = tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp"  # gettempdir() would try to write
    places = [place for place in dict.fromkeys((os.getcwd(), str(temporary))) if os.path.isdir(place)]
    disks = {place: os.statvfs(place) for place in places}
    if number == errno.ENOSPC:
        room = {place: disk.f_bavail * disk.f_frsize if disk.f_favail else 0 for place, disk in disks.items()}
        short = [place for place in places if room[place] < ROOM]
        return min(short, key=lambda place: room[place]) if short else ""  # of equal ones the first
    if number == errno.EROFS:
        return " or ".join(place for place in places if disks[place].f_flag & os.ST_RDONLY)
    return " or ".join(places)


class FileFaultError(UserError):
    """A file is not what its reader expects: damaged, or another program's.

    path: of the file; wrong: what was found and expected; remedy: the way out if this project wrote the file. A file
    that another one vouches for, by a digest, is no such case: it is not the one that was written, whoever wrote it.
    """

    def __init__(self, path: Path, wrong: str, remedy: str) -> None:
        super().__init__(path, wrong, remedy)  # all of them, so that other processes can hand it on
        self.path, self.wrong, self.remedy = path, wrong, remedy

    def __str__(self) -> str:
        return f"{self.path}: {self.wrong}; {self.remedy}"


class Hdf5FaultError(FileFaultError):
    """The same of a file that was read as HDF5."""


class UnreadableError(UserError):
    """A file cannot be read now, which says nothing of what is in it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        if self.path.is_dir():
            return _in_its_way(self.path)
        return (
            f"{self.path}: cannot be read now ({self.reason}), expected a file that this user may read and nobody "
            "writes to; change its permissions, or wait for whoever holds it, and run again"
        )


def require_places(results: Path, files: Iterable[str]) -> None:
    """UserError where a file stands in the place of a folder of a study, or a folder in that of a file.

    Only what lies in the study's folder, or in one in it, is looked at: there may be a million of files.

    Args:
        results: folder of the study.
        files: paths of all that it will have, each as "{results}/...".
    """
    near: set[tuple[str, ...]] = set()
    for file in files:
        first, *rest = file[len(f"{results}/") :].split("/", 2)
        near.add((first, *rest) if len(rest) < 2 else (first, rest[0], ""))  # "" stands for all that is further down
    folders = {results, *(results.joinpath(*place[:depth]) for place in near for depth in range(1, len(place)))}
    for folder in sorted(folders):
        if os.path.lexists(folder) and not folder.is_dir():
            raise UserError(f"{folder}: found a file, expected a folder; move it away and run again")
    for path in sorted(results.joinpath(*place) for place in near if len(place) < 3):
        if path.is_dir():
            raise UserError(_in_its_way(path))


def _in_its_way(path: Path) -> str:
    """What to say of a folder that stands in the place of a file."""
    return f"{path}: found a folder, expected a file; move it away and run again"


def require_writable(folder: Path) -> None:
    """UserError where nothing can be written in a folder: in the last one on the way to it that is there."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    if os.access(there, os.W_OK | os.X_OK):
        return
    number = errno.EROFS if os.statvfs(there).f_flag & os.ST_RDONLY else errno.EACCES
    raise UserError(refusal_of_system(OSError(number, os.strerror(number), str(there))))


def require_readable(path: Path, error: OSError) -> None:
    """UnreadableError where an error of reading says nothing of the file's content: it is locked, say, or not ours."""
    if error.errno not in (None, errno.ENOENT, errno.ENOTDIR, errno.EINVAL):
        raise UnreadableError(path, error.strerror or first_line(error)) from error
