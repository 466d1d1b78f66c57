"""Tensors with metadata on disk: safetensors that carry digests of all they hold. Nothing is ever unpickled.

The metadata hold `tensors_sha256`, of the bytes of all tensors, and `seal`, of the header: metadata, names, types and
shapes. So the header alone can be trusted once it is read, and equal tensors and metadata give equal bytes.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mcoherence.errors import UserError, first_line
from mcoherence.files.atomic import atomic_path
from mcoherence.files.faults import REMEDY, require_readable
from mcoherence.files.seals import (
    IN_HEADER,
    OPEN,
    SEAL,
    TENSORS,
    NoSealError,
    SealError,
    digest_of_rest,
    sealed,
    sealed_header,
)

# The types of tensors that are stored here, by what safetensors calls them.
TYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
FLOATING = frozenset(("F16", "BF16", "F32", "F64"))


@dataclass(frozen=True)
class StoredTensor:
    """What a header says of one tensor: its type as safetensors names it, such as "F32", and its shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """The header of a file: metadata as text by key, tensors by name, and how many bytes it takes."""

    metadata: dict[str, str]
    tensors: dict[str, StoredTensor]
    length: int


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata atomically; equal ones give equal bytes.

    Tensors are written in the standard memory layout, whatever theirs is, and those that share memory each for itself.
    """
    content = save(_separate(tensors), metadata=dict(metadata))
    # The format is a length (8 bytes), a JSON header padded with spaces, and the tensors at offsets from its end.
    end = 8 + int.from_bytes(content[:8], "little")
    body = memoryview(content)[end:]
    header = json.loads(content[8:end])
    described = {**metadata, TENSORS: hashlib.sha256(body).hexdigest(), SEAL: OPEN}
    # The library writes metadata in the order of a hash map that is seeded anew each time.
    header["__metadata__"] = dict(sorted(described.items()))
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(sealed(len(encoded).to_bytes(8, "little") + encoded, IN_HEADER))
        file.write(body)


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, contiguous, no two in the same memory, which safetensors would refuse."""
    separate: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, value in tensors.items():
        tensor = value.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in taken:
            tensor = tensor.clone()
        taken.add(tensor.untyped_storage().data_ptr())
        separate[name] = tensor
    return separate


def read_header(path: Path, expected: str) -> Header:
    """The header of a file, checked by its seal; the tensors are not read.

    Args:
        path: of the file.
        expected: what it should be, for the message, such as "checkpoint".

    Raises:
        UserError: the file is missing, damaged, changed or something else.
    """
    with _readable(path, expected):
        content = sealed_header(path)
        header = json.loads(content[8:])
        metadata = header.pop("__metadata__")
        if not all(isinstance(value, str) for value in metadata.values()):
            raise SealError("its metadata are no text")
        tensors = {
            name: StoredTensor(str(one["dtype"]), tuple(int(size) for size in one["shape"]))
            for name, one in header.items()
        }
        return Header(metadata, tensors, len(content))


def read_tensors(path: Path, header: Header, expected: str) -> dict[str, Tensor]:
    """The tensors of a file on the CPU, checked by their digest, in memory of their own; errors of `read_header`."""
    with _readable(path, expected):
        if digest_of_rest(path, header.length) != header.metadata[TENSORS]:
            raise SealError("its tensors are not as they were written")
        with safe_open(path, framework="pt") as stored:
            # Copied out of the mapped file, where their alignment, and with it rounding, would hang on the header's
            # length.
            return {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118


@contextmanager
def _readable(path: Path, expected: str) -> Iterator[None]:
    """Turns whatever reading a file raises into one line; nothing else may stand in the block."""
    remedy = f"expected a {expected}; {REMEDY}"
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: not found, expected a {expected}; look at the path, or run again") from error
    except NoSealError as error:
        raise UserError(f"{path}: not a {expected} of this project ({error}); {remedy}") from error
    except SealError as error:
        raise UserError(f"{path}: unreadable, {error}; {remedy}") from error
    except OSError as error:
        require_readable(path, error)
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from error
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        raise UserError(f"{path}: unreadable ({first_line(error)}); {remedy}") from error
