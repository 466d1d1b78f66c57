"""Pictures that say what they are: the texts of a PNG, among them the digest of its PDF and a seal of its own bytes."""

import hashlib
import zlib
from pathlib import Path

from mcoherence.errors import UserError
from mcoherence.files.digests import sha256_of
from mcoherence.files.faults import REMEDY, FileFaultError, require_readable
from mcoherence.files.seals import SealError

FIGURE, PDF = "Figure", "PDF"  # texts: the name of the figure, and the SHA-256 of its PDF
END_BYTES = 12  # of the last chunk of a PNG, IEND, which is empty
SEAL_BYTES = 12 + len(b"Seal\0") + 64


def sealed_picture(content: bytes) -> bytes:
    """The bytes of a PNG with one more text, the seal of all the others."""
    return content[:-END_BYTES] + _seal_of(content) + content[-END_BYTES:]


def _seal_of(content: bytes) -> bytes:
    """The chunk of text that seals a PNG without one."""
    text = b"tEXtSeal\0" + hashlib.sha256(content).hexdigest().encode()
    return (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")


def picture_texts(png: Path) -> dict[str, str]:
    """The texts of a figure by key.

    Raises:
        UserError: the PNG is missing or was changed, or it is another figure than its name says.
    """
    try:
        content = png.read_bytes()
        check_seal(content)
        said = texts_of(content)
        if said[FIGURE] != png.stem:
            raise ValueError(f"it is the figure {said[FIGURE]}")
        if PDF not in said:
            raise ValueError("it names no PDF")
    except OSError as error:
        require_readable(png, error)
        raise FileFaultError(png, f"missing, damaged or no figure of this study ({error})", REMEDY) from error
    except (LookupError, ValueError) as error:
        wrong = f"missing, damaged or no figure of this study ({error})"
        raise FileFaultError(png, wrong, REMEDY) from error
    return said


def check_seal(content: bytes) -> None:
    """SealError unless the bytes of a PNG are those that its seal was taken of."""
    end = len(content) - END_BYTES
    unsealed = content[: end - SEAL_BYTES] + content[end:]
    if content[end - SEAL_BYTES : end] != _seal_of(unsealed):
        raise SealError("its bytes and its seal differ, or it has none")


def texts_of(content: bytes) -> dict[str, str]:
    """The chunks of text of a PNG, read without its pixels, however many these are.

    A PNG is 8 bytes and then chunks: length (4 bytes), type (4), content, check sum (4). Text: a key, a zero, Latin-1.
    """
    texts: dict[str, str] = {}
    start = 8
    while start < len(content):
        length, kind = int.from_bytes(content[start : start + 4], "big"), content[start + 4 : start + 8]
        if kind == b"tEXt":
            key, _, value = content[start + 8 : start + 8 + length].partition(b"\0")
            texts[key.decode("latin-1")] = value.decode("latin-1")
        start += 12 + length
    return texts


def check_picture(png: Path, pdf: Path) -> None:
    """Check that both forms of a figure are as they were drawn.

    Raises:
        UserError: one line about the form that is missing or was changed, with what makes it again.
    """
    said = picture_texts(png)
    try:
        found = sha256_of(pdf)
    except OSError as error:
        require_readable(pdf, error)
        raise FileFaultError(pdf, f"missing or unreadable ({error.strerror})", REMEDY) from error
    if found != said[PDF]:
        raise UserError(f"{pdf}: changed since it was drawn, expected the one that {png.name} names; {REMEDY}")
