"""Whose a file is: this project's, which says so in a place of its own, or another program's.

A name that is mentioned anywhere in a file says nothing: any program may write a path or a remark with it.
"""

import json
import re
from pathlib import Path
from typing import Literal

from mcoherence.errors import UserError
from mcoherence.files.digests import sha256_of
from mcoherence.files.faults import FileFaultError, Hdf5FaultError, UnreadableError
from mcoherence.files.layouts import LAYOUTS

# Records of this project that stay readable whatever happens to the rest of a file: its own keys, each with a digest.
RECORDS = re.compile(
    rb'mcoherence-seal:[0-9a-f]{64}|tEXt(Seal|PDF)\0[0-9a-f]{64}|"(seal|tensors_sha256|log_sha256)": ?"[0-9a-f]{64}"|'
    rb'"csv_sha256":"[0-9a-f]{64}","seal":"'
)
# The schemas, of any version, as an attribute of an HDF5 file that cannot be opened holds them.
SCHEMAS = re.compile(rb"mcoherence/(%s)/\d+" % "|".join(sorted({name.split("/")[1] for name in LAYOUTS})).encode())
HDF5_SUFFIXES = (".h5", ".hdf5")  # of results: a monitor, and whoever saves statistics, may write either
HDF5, PNG, PARQUET = b"\x89HDF\r\n\x1a\n", b"\x89PNG\r\n\x1a\n", b"PAR1"  # what such files begin with
SEALED_FORMS = {".csv": ".parquet", ".pdf": ".png"}  # other form -> the form that carries the seals of both
ENDS_BYTES = 2**24  # of a large file that is looked at, from its beginning and from its end

Whose = Literal["ours", "another's", "unknown"]


def sealed_form(path: Path) -> Path:
    """The form of a table or figure that carries the seals of both forms; of any other file itself."""
    return path.with_suffix(SEALED_FORMS.get(path.suffix, path.suffix))


def forms_of(path: Path) -> tuple[Path, ...]:
    """All files that are written where this one is: both forms of a table or figure, else itself."""
    sealed = sealed_form(path)
    return (sealed, *(path.with_suffix(other) for other, its in SEALED_FORMS.items() if its == sealed.suffix))


def is_own_result(path: Path) -> bool:
    """Whether this project wrote a file that is there, by what is made to say it, so that a result may replace it.

    An HDF5 file names a schema of this project or ends with its seal. A Parquet file or a PNG carries a seal that is
    right. A CSV file or a PDF is the very one that the seal beside it names. Nothing else counts: not a word in the
    text, and not a file that somebody went on to edit, but for HDF5, whose schema stays.
    """
    sealed = sealed_form(path)
    if not path.is_file() or not sealed.is_file():  # others, such as pipes, are not even opened
        return False
    try:
        if sealed.suffix not in SEALED_FORMS.values():
            return _names_our_schema(path)
        named = _form_named_by(sealed)
        return path == sealed or sha256_of(path) == named
    except (OSError, ValueError, LookupError):
        return False


def _form_named_by(sealed: Path) -> str:
    """The SHA-256 of the other form that a Parquet file or a PNG names; ValueError or LookupError where none is ours.

    The Parquet file is not parsed: it names the digest right before its own seal.
    """
    from mcoherence.files.pictures import PDF, check_seal, texts_of
    from mcoherence.files.seals import IN_METADATA, require_seal

    content = sealed.read_bytes()
    if content.startswith(PNG):
        check_seal(content)
        return texts_of(content)[PDF]
    require_seal(content, IN_METADATA)
    (digest,) = re.findall(rb'"csv_sha256":"([0-9a-f]{64})","seal":"' + re.escape(IN_METADATA), content)
    return str(digest.decode())


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
    """Whose a readable file is that turned out to be no good result file.

    "ours": a record in it says that this project wrote it, whatever happened to the rest. "another's": it is whole by
    its own format, and no record says so. "unknown": neither; it is cut off, or of a format that is not known here.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        start = file.read(ENDS_BYTES)
        file.seek(max(len(start), size - ENDS_BYTES))
        end = file.read()
    if start.startswith(HDF5):
        if _names_our_schema(path):
            return "ours"
        if _opens(path):  # it may hold any text, ours among it
            return "another's"
        return "ours" if any(found.search(part) for found in (RECORDS, SCHEMAS) for part in (start, end)) else "unknown"
    if any(RECORDS.search(part) for part in (start, end)):
        return "ours"
    return "another's" if _is_whole(size, start, (start[-64:] + end)[-64:]) else "unknown"


def _names_our_schema(path: Path) -> bool:
    """Whether a file is HDF5 and ends with a seal of this project, or can be opened and names one of its schemas."""
    if not _begins_as_hdf5(path):
        return False
    import h5py

    from mcoherence.files.seals import seal_of_end

    if seal_of_end(path) is not None:  # HDF5 may never return from a damaged one, so it is not asked
        return True
    try:
        with h5py.File(path, "r") as opened:
            return SCHEMAS.fullmatch(str(opened.attrs.get("schema", "")).encode()) is not None
    except (OSError, RuntimeError):
        return False


def _begins_as_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(HDF5)) == HDF5


def _opens(path: Path) -> bool:
    """Whether HDF5 opens a file."""
    import h5py

    try:
        with h5py.File(path, "r"):
            return True
    except (OSError, RuntimeError):
        return False


def _is_whole(size: int, start: bytes, end: bytes) -> bool:
    """Whether a file that is no HDF5 begins and ends as its format does."""
    if start.startswith(PNG):
        return end.endswith(b"IEND\xaeB`\x82")
    if start.startswith(PARQUET):
        return end.endswith(PARQUET) and size > 8
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


def in_truth(error: UserError) -> str:
    """What is told of a user's mistake; of a file that its reader took for damaged, what is wrong with it in truth.

    One that cannot be read now, and one that another program wrote, is not damaged, and nobody is to delete it.
    """
    if not isinstance(error, FileFaultError) or not error.path.is_file():
        return str(error)
    path = error.path
    if (reason := unreadable(path)) is not None:
        return str(UnreadableError(path, reason))
    found = whose(path)
    if found == "another's":
        return f"{path}: found a file of another program, expected a result file of mcoherence; look at the path"
    if found == "unknown":
        return (
            f"{path}: found nothing in it that says mcoherence wrote it, expected a result file; look at the path, or "
            "make it again if it was cut off"
        )
    if isinstance(error, Hdf5FaultError) and path.suffix not in HDF5_SUFFIXES and not _begins_as_hdf5(path):
        return f"{path}: found no HDF5 file, expected one of mcoherence's; look at the path"
    return str(error)
