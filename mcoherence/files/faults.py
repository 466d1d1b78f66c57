"""What is wrong with a file that is there, as errors that say which file and which kind of wrong.

A reader knows that a file is not what it expects, and tells the way out for a file of this project. Whether the file is
one of this project at all is asked by those who tell the user (`mcoherence.files.whose`).
"""

from pathlib import Path

from mcoherence.errors import UserError

OPERATIONAL = True  # no number depends on it; docs/reruns.md


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
        return (
            f"{self.path}: cannot be read now ({self.reason}), expected a file that this user may read and nobody "
            "writes to; change its permissions, or wait for whoever holds it, and run again"
        )
