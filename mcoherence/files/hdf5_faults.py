"""What is wrong with an HDF5 file, in one line, whatever HDF5 makes of it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcoherence.errors import UserError, first_line
from mcoherence.files.faults import REMEDY, Hdf5FaultError, UnreadableError
from mcoherence.files.seals import SealError

OURS = "mcoherence/"  # begins the names of schemas, which are kind and version: "mcoherence/coherence/2"


class FaultError(ValueError):
    """What is wrong with a file, without its name."""


class OtherSchemaFaultError(FaultError):
    """It names another schema, of another kind or version, than the one that was asked for."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"found {found}, expected {expected}")
        self.of_another_kind = found.startswith(OURS) and found.rpartition("/")[0] != expected.rpartition("/")[0]


@contextmanager
def reading_file(path: Path) -> Iterator[None]:
    """Turns whatever HDF5 makes of a file into one line; nothing of a caller's may stand in the block."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.errno is None:
            raise Hdf5FaultError(path, f"damaged ({first_line(error)})", REMEDY) from error
        # not the file's fault: locked by a writer, not ours to read, too many files open
        reason = error.strerror or first_line(error)
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            reason += ": this file system has no locks; HDF5_USE_FILE_LOCKING=FALSE in the environment does without"
        raise UnreadableError(path, reason) from error
    except SealError as error:
        raise Hdf5FaultError(path, f"damaged ({error})", REMEDY) from error
    except OtherSchemaFaultError as wrong:
        if wrong.of_another_kind:
            raise Hdf5FaultError(path, str(wrong), "it is a file of another kind, look at the path") from wrong
        raise Hdf5FaultError(path, str(wrong), REMEDY) from wrong
    except FaultError as wrong:
        raise Hdf5FaultError(path, str(wrong), REMEDY) from wrong
    except (
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        MemoryError,
        SystemError,
    ) as error:
        raise Hdf5FaultError(path, f"damaged ({type(error).__name__}: {first_line(error)})", REMEDY) from error


@contextmanager
def selecting_values(path: Path) -> Iterator[None]:
    """As `reading_file`, for a read whose selection is the caller's: an index out of range stays the caller's error."""
    try:
        yield
    except (OSError, RuntimeError, MemoryError, UnicodeError) as error:
        with reading_file(path):
            raise error
