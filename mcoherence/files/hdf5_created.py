"""A new HDF5 file that may fail to be written, as on a full disk, without taking the process with it.

HDF5 keeps what it could not write, tries again when Python ends, and then crashes (SIGSEGV). So it never hears of a
failure: it writes through a Python file, which keeps the first error for the end of the block and writes nothing more
from then on. What HDF5 may read back, its own small records, is kept in memory: it crashes where they are not there.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

OPERATIONAL = True  # no number depends on it; docs/reruns.md

LARGEST_KEPT = 2**20  # bytes of one write that is kept after a failure; chunks of data are larger, and not read back


@contextmanager
def created_hdf5(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file at `path`, open for writing, closed at the end of the block.

    Raises:
        OSError: the disk is full, say; in place of whatever HDF5 then made of what it could not read back.
    """
    with _Deferring(path) as disk:
        try:
            with h5py.File(disk, "w", libver="v110") as file:
                yield file
        except (OSError, RuntimeError, ValueError, LookupError):
            disk.require_written()
            raise
        disk.require_written()


class _Deferring(io.RawIOBase):
    """A new file whose errors of writing are kept for later."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._path = path
        self._error: OSError | None = None
        self._kept: list[tuple[int, bytes]] = []  # position and content of what was to be written after the error

    def require_written(self) -> None:
        """OSError where something was not written."""
        if self._error is not None:
            raise OSError(self._error.errno, self._error.strerror, str(self._path)) from self._error

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        if self._error is None:
            return self._file.readinto(buffer)
        start, whole = self.tell(), memoryview(buffer).cast("B")
        whole[:] = bytes(len(whole))
        self._file.readinto(whole)
        for position, content in self._kept:
            first, last = max(position, start), min(position + len(content), start + len(whole))
            if first < last:
                whole[first - start : last - start] = content[first - position : last - position]
        self.seek(start + len(whole))
        return len(whole)

    def write(self, content: Any) -> int:
        whole, start = memoryview(content).cast("B"), self.tell()
        left = whole
        while self._error is None and left:
            try:
                left = left[self._file.write(left) :]
            except OSError as error:
                self._error = error
        if self._error is not None:
            if len(whole) <= LARGEST_KEPT:
                self._kept.append((start, bytes(whole)))
            self.seek(start + len(whole))
        return len(whole)

    def truncate(self, size: int | None = None) -> int:
        if self._error is None:
            try:
                return self._file.truncate(size)
            except OSError as error:
                self._error = error
        return self.tell() if size is None else size

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
