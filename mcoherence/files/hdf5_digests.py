"""Digests of what an HDF5 file holds: of every data set, and a seal of its attributes."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcoherence.files.canonical import canonical_json
from mcoherence.files.hdf5_faults import FaultError
from mcoherence.files.layouts import stored_as
from mcoherence.files.seals import SEAL

Attributes = Mapping[str, Any]

DIGESTS = "digests"  # attribute: type, shape and digest of every data set
CONTENT = "content_sha256"  # of data sets that are too large for a digest of their own
HASHED_BYTES = 2**26  # of a data set that are hashed at a time
MOST_ATTRIBUTE_VALUES = 10**6


def stored_type(dataset: h5py.Dataset) -> str:
    """The type of a data set as its digest names it: "text", or numpy's name with the order of bytes."""
    return "text" if h5py.check_string_dtype(dataset.dtype) is not None else str(dataset.dtype.str)


def described(dataset: h5py.Dataset, schema: str, name: str) -> dict[str, Any]:
    """What the attribute DIGESTS says of a data set: type, shape, and digest, None where its layout says streamed."""
    stored = stored_as(schema, name)
    streamed = stored is not None and stored.streamed
    digest = None if streamed else values_digest(dataset)
    return {"dtype": stored_type(dataset), "shape": list(dataset.shape), "sha256": digest}


def new_digest(dataset: h5py.Dataset) -> "hashlib._Hash":
    """A SHA-256 that has seen type and shape of a data set, and waits for its values."""
    return hashlib.sha256(canonical_json([stored_type(dataset), list(dataset.shape)]).encode())


def update_digest(digest: "hashlib._Hash", values: NDArray[Any]) -> None:
    """Take in values, of any shape, in their order."""
    if values.dtype.kind == "O":
        digest.update(json.dumps([_text(value) for value in values.ravel()]).encode())
    else:
        digest.update(np.ascontiguousarray(values).tobytes())


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def values_digest(dataset: h5py.Dataset) -> str:
    """SHA-256 of type, shape and values of a data set, read in blocks."""
    digest = new_digest(dataset)
    for block in blocks_of(dataset):
        update_digest(digest, block)
    return digest.hexdigest()


def blocks_of(dataset: h5py.Dataset) -> Iterator[NDArray[Any]]:
    """The values in order, some rows at a time; text at once."""
    rows = max(1, HASHED_BYTES // max(1, math.prod(dataset.shape[1:]) * dataset.dtype.itemsize))
    if dataset.ndim == 0 or dataset.dtype.kind == "O" or len(dataset) <= rows:
        yield np.asarray(dataset[()])
        return
    for start in range(0, len(dataset), rows):
        yield dataset[start : start + rows]


def require_values(name: str, described: Mapping[str, Any], found: str) -> None:
    """FaultError unless the digest of a data set's values is the one that DIGESTS describes."""
    if found != described["sha256"]:
        raise FaultError(f"damaged, {name} is not as it was written")


def attributes_of(file: h5py.File) -> dict[str, Any]:
    """All attributes of a file; errors of `attribute_of`."""
    return {name: attribute_of(file, name) for name in file.attrs}


def attribute_of(file: h5py.File, name: str) -> Any:
    """An attribute of a file; FaultError where it is larger than any that is written here."""
    shape = file.attrs.get_id(name).shape
    if shape is None or math.prod(shape) > MOST_ATTRIBUTE_VALUES:
        raise FaultError(f"attribute {name!r} has the shape {shape}, expected at most {MOST_ATTRIBUTE_VALUES:,} values")
    return file.attrs[name]


def attribute_seal(attributes: Attributes) -> str:
    """The SHA-256 of all attributes but the seal itself, in hexadecimal."""
    values = {name: _as_json(value) for name, value in attributes.items() if name != SEAL}
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def _as_json(value: Any) -> Any:
    """An attribute as text and numbers, equal for equal values and types alone."""
    array = np.asarray(value)
    if array.dtype.kind in "OUS":
        return [list(array.shape), [_text(one) for one in array.ravel()]]
    return [list(array.shape), array.dtype.str, array.tobytes().hex()]


def require_attribute_seal(attributes: Attributes) -> None:
    """FaultError unless attributes carry the seal of themselves."""
    if SEAL not in attributes or DIGESTS not in attributes:
        raise FaultError("it carries no seal: another program wrote it, or an earlier version of this one")
    if attributes[SEAL] != attribute_seal(attributes):
        raise FaultError("changed since it was written: its attributes and its seal differ")
