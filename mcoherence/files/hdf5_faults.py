"""What is wrong with an HDF5 file, in one line, whatever HDF5 makes of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcoherence.errors import UserError, first_line
from mcoherence.files.seals import SealError


class FaultError(ValueError):
    """What is wrong with a file, without its name."""


@contextmanager
def reading_file(path: Path) -> Iterator[None]:
    """Turns whatever HDF5 makes of a file into one line; nothing of a caller's may stand in the block."""
    remedy = "delete the file and run again"
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.errno is None:
            raise UserError(f"{path}: damaged ({first_line(error)}); {remedy}") from error
        # not the file's fault: locked by a writer, not ours to read, too many files open
        reason = error.strerror or first_line(error)
        raise UserError(
            f"{path}: cannot be read now ({reason}); expected a file that this user may read and nobody writes to; "
            "wait, or change its permissions, and run again"
        ) from error
    except SealError as error:
        raise UserError(f"{path}: damaged ({error}); {remedy}") from error
    except FaultError as wrong:
        raise UserError(f"{path}: {wrong}; {remedy}") from wrong
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
        raise UserError(f"{path}: damaged ({type(error).__name__}: {first_line(error)}); {remedy}") from error


@contextmanager
def selecting_values(path: Path) -> Iterator[None]:
    """As `reading_file`, for a read whose selection is the caller's: an index out of range stays the caller's error."""
    try:
        yield
    except (OSError, RuntimeError, MemoryError, UnicodeError) as error:
        with reading_file(path):
            raise error
