"""The digests that files carry of their own content.

A seal is a SHA-256 in hexadecimal, taken of the bytes with zeros in its own place. It has no key, so anybody can make
one: it finds damage and forgotten edits, and proves nothing about who wrote a file (docs/security.md).
"""

import hashlib
import json
import re
from pathlib import Path

import h5py

OPERATIONAL = True  # no number depends on it; docs/reruns.md

TENSORS = "tensors_sha256"  # key of the metadata of safetensors for the digest of the bytes of all tensors
LOG = "log_sha256"  # and of a state that of the training log of its segment
SEAL = "seal"  # an attribute in HDF5, a key of the metadata of safetensors and of JSON
OPEN = "0" * 64  # stands where the seal will, while it is taken
IN_HEADER = b'"seal":"'  # what a seal follows in the header of safetensors,
IN_JSON = b'"seal": "'  # in an indented JSON file,
IN_METADATA = b"mcoherence-seal:"  # and in the metadata of Parquet and the last comment of a page
HEADER_BYTES = 10**8  # the longest header that safetensors takes
FOOTER_BYTES = 10**8
SEALED_BYTES = 2**26  # up to which an HDF5 file ends with a seal of all of its bytes: 0.05 s to take
_TRAILER = re.compile(rb"\nmcoherence-seal:([0-9a-f]{64})\n")
_TRAILER_BYTES = 82


class SealError(ValueError):
    """A file is not as it was written; the message says how, without the file's name."""


class NoSealError(SealError):
    """A file carries no seal: another program wrote it, or an earlier version of this one."""


def sealed(content: bytes, mark: bytes) -> bytes:
    """The content with the seal in the place of the zeros that follow `mark`, which is there once."""
    before, found, after = content.partition(mark + OPEN.encode())
    if not found or mark + OPEN.encode() in after:
        raise ValueError(f"expected one place for a seal, after {mark!r}")
    return before + mark + hashlib.sha256(content).hexdigest().encode() + after


def require_seal(content: bytes, mark: bytes) -> str:
    """The seal that follows `mark`; SealError unless the content is what it was taken of."""
    found = list(re.finditer(re.escape(mark) + rb"([0-9a-f]{64})", content))
    if len(found) != 1:
        raise NoSealError("it carries no seal: another program wrote it, or an earlier version of this one")
    start, end = found[0].span(1)
    digest = hashlib.sha256(content[:start])
    digest.update(OPEN.encode())
    digest.update(content[end:])
    if digest.hexdigest().encode() != found[0][1]:
        raise SealError("it is not as it was written: its bytes and its seal differ")
    return digest.hexdigest()


def seal_at_end(path: Path) -> None:
    """Append the seal of all bytes of a file to it; HDF5 does not look beyond its own end."""
    with path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.write(b"\n" + IN_METADATA + digest.encode() + b"\n")


def seal_of_end(path: Path) -> str | None:
    """The seal that a file ends with, or None where it ends otherwise."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _TRAILER_BYTES))
        found = _TRAILER.fullmatch(file.read())
    return found[1].decode() if found else None


def require_seal_at_end(path: Path) -> None:
    """SealError unless the bytes of a file that ends with a seal are those that it was taken of."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = file.seek(0, 2) - _TRAILER_BYTES
        file.seek(0)
        while left > 0 and (block := file.read(min(left, 2**20))):
            digest.update(block)
            left -= len(block)
    if digest.hexdigest() != seal_of_end(path):
        raise SealError("it is not as it was written: its bytes and its seal differ")


def sealed_header(path: Path) -> bytes:
    """The first bytes of a safetensors file, its length (8 bytes) and its header (JSON), checked by their seal.

    Raises:
        SealError: the header was changed or cut, or carries no seal (NoSealError).
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if len(first) < 8 or length > HEADER_BYTES:
            raise SealError("it does not begin as a safetensors file")
        header = first + file.read(length)
    if len(header) < 8 + length:
        raise SealError("it is cut within its header")
    require_seal(header, IN_HEADER)
    return header


def sealed_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, as text by key; errors of `sealed_header`, KeyError where it has none."""
    metadata: dict[str, str] = json.loads(sealed_header(path)[8:])["__metadata__"]
    return metadata


def check_tensor_bytes(path: Path) -> None:
    """SealError unless header and tensors of a safetensors file are as they were written; without loading torch."""
    header = sealed_header(path)
    expected = json.loads(header[8:])["__metadata__"].get(TENSORS)
    if digest_of_rest(path, len(header)) != expected:
        raise SealError("its tensors are not as they were written")


def digest_of_rest(path: Path, start: int) -> str:
    """The SHA-256 of the bytes of a file from `start` on, in hexadecimal."""
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.file_digest(file, "sha256").hexdigest()


def carried_seal(path: Path) -> str | None:
    """The seal that an HDF5, safetensors or Parquet file carries, as "seal:" and its digits, or None.

    Only the beginning or the end of the file is read, so that thousands of large ones can be asked. Whether the content
    is what the seal says is for those to check who read the content.
    """
    readers = {".h5": _of_hdf5, ".safetensors": _of_safetensors, ".parquet": _of_parquet}
    try:
        seal = readers[path.suffix](path) if path.suffix in readers else None
    except (
        OSError,
        ValueError,
        LookupError,
        RuntimeError,
        TypeError,
    ):  # of another kind than its name says, or damaged
        return None
    return f"{SEAL}:{seal}" if isinstance(seal, str) and re.fullmatch("[0-9a-f]{64}", seal) else None


def _of_hdf5(path: Path) -> object:
    """That at the end, or the attribute of a larger file. HDF5 itself may never return from a damaged one."""
    if path.stat().st_size <= SEALED_BYTES + _TRAILER_BYTES:
        return seal_of_end(path)
    with h5py.File(path, "r") as file:
        return file.attrs[SEAL]


def _of_safetensors(path: Path) -> str:
    return require_seal(sealed_header(path), IN_HEADER)


def _of_parquet(path: Path) -> str:
    """A Parquet file ends with its metadata, their length in four bytes, and "PAR1"."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        length = min(int.from_bytes(file.read(4), "little"), FOOTER_BYTES)
        file.seek(max(0, size - 8 - length))
        (seal,) = re.findall(re.escape(IN_METADATA) + rb"([0-9a-f]{64})", file.read(length))
    return str(seal.decode())
