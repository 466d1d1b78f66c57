"""Whose a file is that turned out to be no good result file: damage is one thing, another program's file another.

Asked only once something is wrong, so that nothing here is on the way of a good file.
"""

import json
import re
from pathlib import Path
from typing import Literal

# What stands in files of this project and stays readable whatever happens to the rest: schemas and seals.
MARKS = (b"mcoherence", b"tEXtSeal\0", b'"seal"', b'"tensors_sha256"')
HDF5_SUFFIXES = (".h5", ".hdf5")  # of results: a monitor, and whoever saves statistics, may write either
HDF5 = b"\x89HDF\r\n\x1a\n"
# What is said of a file of ours that stands in the place of another kind.
OF_ANOTHER_KIND = re.compile(r"(.*: found mcoherence/\S+, expected mcoherence/\S+); delete the file and run again")
ENDS_BYTES = 2**24  # of a large file that is looked at, from its beginning and from its end

Whose = Literal["ours", "another's", "unknown"]


def unreadable(path: Path) -> str | None:
    """Why a file that is there cannot be read now, in words; None where it can, or is not there."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def whose(path: Path) -> Whose:
    """Whose a readable file is.

    "ours": something in it says that this project wrote it. "another's": it is whole by its own format, and nothing in
    it says so. "unknown": neither; it is cut off, or of a format that is not known here.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        start = file.read(ENDS_BYTES)
        file.seek(max(len(start), size - ENDS_BYTES))
        end = file.read()
    if any(mark in start or mark in end for mark in MARKS) or _names_our_schema(path, start):
        return "ours"
    return "another's" if _is_whole(path, size, start, (start[-64:] + end)[-64:]) else "unknown"


def _names_our_schema(path: Path, start: bytes) -> bool:
    """Whether an HDF5 file can be opened and names a schema of this project, wherever in the file it stands."""
    if not start.startswith(HDF5):
        return False
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get("schema", "")).startswith("mcoherence/")
    except (OSError, RuntimeError):
        return False


def _is_whole(path: Path, size: int, start: bytes, end: bytes) -> bool:
    """Whether a file begins and ends as its format does."""
    if start.startswith(HDF5):
        import h5py

        try:
            with h5py.File(path, "r"):
                return True
        except (OSError, RuntimeError):
            return False
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return end.endswith(b"IEND\xaeB`\x82")
    if start.startswith(b"PAR1"):
        return end.endswith(b"PAR1") and size > 8
    length = int.from_bytes(start[:8], "little")
    try:  # safetensors: the length of a header, the header, and as many bytes as that says
        header = json.loads(start[8 : 8 + length])
        ends = [one["data_offsets"][1] for key, one in header.items() if key != "__metadata__"]
        return bool(size == 8 + length + max(ends))
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    try:
        json.loads(start)
    except ValueError:
        return start.lstrip()[:1] == b"<" and end.rstrip().endswith(b">")
    return True


def in_truth(line: str) -> str:
    """A line of a fault that begins with the path of a file: the same, unless that file is not damaged at all.

    One that cannot be read now, and one that another program wrote, is not damaged, and nobody is to delete it.
    """
    path = Path(line.partition(": ")[0])
    try:
        if not path.is_file():
            return line
        reason = unreadable(path)
        vouched_for = "changed since" in line and "carries no seal" not in line  # by another file, such as its page
        blamed = any(word in line for word in ("delete ", "make it again")) and not vouched_for
        found = whose(path) if reason is None and blamed else "ours"
    except (OSError, ValueError):  # no path, or gone meanwhile
        return line
    if reason is not None:
        return (
            f"{path}: cannot be read now ({reason}), expected a file that this user may read; change its permissions, "
            "or wait for whoever holds it, and run again"
        )
    if found == "another's":
        return f"{path}: found a file of another program, expected a result file of mcoherence; look at the path"
    if found == "unknown":
        return (
            f"{path}: found nothing in it that says mcoherence wrote it, expected a result file; look at the path, or "
            "make it again if it was cut off"
        )
    if "file signature not found" in line and path.suffix not in HDF5_SUFFIXES:
        return f"{path}: found no HDF5 file, expected one of mcoherence's; look at the path"
    if (of_another_kind := OF_ANOTHER_KIND.fullmatch(line)) is not None:
        return f"{of_another_kind[1]}; it is a file of another kind, look at the path"
    return line
