"""Self-describing HDF5 files: written whole, with equal bytes for equal content, and checked when they are read.

A file carries a digest of every data set (attribute `digests`, with its type and shape), a seal over all of its
attributes, `digests` among them, and up to 64 MiB a seal over all of its bytes at its end. Opening it checks the seals,
that there is nothing in it but plain data sets of the schema's layout, and their types, shapes and sizes. A data set
that is read whole is compared with its digest; blocks that are read alone have HDF5's own checksum (fletcher32).
Whatever is wrong is one line.

The seal at the end is checked before HDF5 sees the file: text lies in heaps that HDF5 does not check, and one flipped
bit there can keep it busy for ever. A file that was edited, by h5py say, has lost that seal; then what is wrong with it
is said by name.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from mcoherence.errors import UserError
from mcoherence.files.atomic import atomic_path
from mcoherence.files.canonical import canonical_json
from mcoherence.files.hdf5_checked import CheckedFile
from mcoherence.files.hdf5_created import created_hdf5
from mcoherence.files.hdf5_digests import (
    CONTENT,
    DIGESTS,
    Attributes,
    attribute_seal,
    attributes_of,
    blocks_of,
    described,
    require_attribute_seal,
    require_values,
    values_digest,
)
from mcoherence.files.hdf5_faults import FaultError, reading_file
from mcoherence.files.hdf5_structure import check_layout, schema_of
from mcoherence.files.layouts import LAYOUTS
from mcoherence.files.seals import SEAL, SEALED_BYTES, SealError, require_seal_at_end, seal_at_end, seal_of_end

OF_THE_FILE = ("schema", "contents", DIGESTS, SEAL)  # attributes that `new_hdf5` writes


def write_hdf5(
    path: str | os.PathLike[str],
    schema: str,
    datasets: Mapping[str, NDArray[Any] | Sequence[str]],
    attributes: Attributes,
) -> None:
    """Write an HDF5 file atomically; equal content gives equal bytes.

    Args:
        path: where to.
        schema: name and version of the layout, such as "mcoherence/labels/2"; readers ask for it by this name.
        datasets: name (with groups, "train/images") to array, or to a sequence of names, stored as UTF-8 strings.
        attributes: provenance; mappings are stored as JSON, sequences of numbers or strings as arrays.
    """
    with new_hdf5(path, schema) as file:
        write_contents(file, datasets, attributes)


def write_contents(
    file: h5py.File, datasets: Mapping[str, NDArray[Any] | Sequence[str]], attributes: Attributes
) -> None:
    """Write datasets and attributes, as `write_hdf5` takes them, to an open file, in the order of their names."""
    for name, values in sorted(datasets.items()):
        _create_dataset(file, name, values)
    write_attributes(file, attributes)


@contextmanager
def new_hdf5(path: str | os.PathLike[str], schema: str) -> Iterator[h5py.File]:
    """An HDF5 file to fill piece by piece; it is at `path`, with list of contents and seal, once the block ended well.

    Raises:
        UserError: what was written is not as the schema's layout says.
    """
    with atomic_path(path) as temporary:
        with created_hdf5(temporary) as file:
            yield file
            try:
                _describe(file, schema)
            except FaultError as wrong:
                raise UserError(f"{path}: {wrong}; this cannot be stored as {schema}") from wrong
        if temporary.stat().st_size <= SEALED_BYTES:
            seal_at_end(temporary)


def _describe(file: h5py.File, schema: str) -> None:
    """Write the attributes OF_THE_FILE."""
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    file.attrs["schema"] = schema
    file.attrs["contents"] = json.dumps(sorted(names))
    file.attrs[DIGESTS] = canonical_json({name: described(file[name], schema, name) for name in names})
    attributes = attributes_of(file)
    check_layout(schema, {name: file[name] for name in names}, attributes)
    file.attrs[SEAL] = attribute_seal(attributes)


def write_attributes(file: h5py.File, attributes: Attributes) -> None:
    """Write attributes in the order of their names; mappings are stored as JSON."""
    for key, value in sorted(attributes.items()):
        file.attrs[key] = canonical_json(value) if isinstance(value, Mapping) else value


def _create_dataset(file: h5py.File, name: str, values: NDArray[Any] | Sequence[str]) -> None:
    if not isinstance(values, np.ndarray):
        file.create_dataset(name, data=list(values), dtype=h5py.string_dtype())
    elif values.size == 0 or values.ndim == 0:  # neither can be chunked, so neither can carry a checksum
        file.create_dataset(name, data=values)
    else:
        file.create_dataset(name, data=values, chunks=True, compression="gzip", shuffle=True, fletcher32=True)


@contextmanager
def open_hdf5(path: str | os.PathLike[str], schema: str) -> Iterator[h5py.File]:
    """A result file opened for reading and checked, but for what is in its data sets: they are when they are read.

    Of the file that is yielded, `file[name]` and what is read of it, and `file.attrs[key]`, raise UserError where the
    file is damaged or has no such thing. Errors of the block itself are left alone.

    Raises:
        UserError: the file is missing, unreadable, of another schema, incomplete, changed since it was written, or it
            holds something else than the schema's data sets.
    """
    path = Path(path)
    with reading_file(path):
        if not path.is_file():
            raise UserError(f"{path}: not found; expected a {schema} file; look at the path, or make it")
        whole = _is_whole(path)
        file = h5py.File(path, "r")
    try:
        with reading_file(path):
            checked = CheckedFile(file, path, schema)
            if not whole and path.stat().st_size <= SEALED_BYTES:
                raise FaultError("changed since it was written: it has lost the seal at its end")
        yield checked
    finally:
        file.close()


def read_hdf5(
    path: str | os.PathLike[str], schema: str, without: str | None = None
) -> tuple[dict[str, NDArray[Any] | Sequence[str]], dict[str, Any]]:
    """All datasets and attributes of a result file as `write_hdf5` takes them, mappings parsed; errors of open_hdf5.

    Args:
        path: of the file.
        schema: that it must have.
        without: beginning of the names of datasets that are left out.
    """
    with open_hdf5(path, schema) as file:
        datasets: dict[str, NDArray[Any] | Sequence[str]] = {}
        for name in json.loads(file.attrs["contents"]):
            if without is not None and name.startswith(without):
                continue
            names = h5py.check_string_dtype(file[name].dtype) is not None
            datasets[name] = read_names(file, name) if names else file[name][()]
        attributes = {key: value for key, value in file.attrs.items() if key not in OF_THE_FILE}
        return datasets, {
            key: read_mapping(file, key) if _is_json(value) else value for key, value in attributes.items()
        }


def _is_json(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("{")


def read_mapping(file: h5py.File, key: str) -> dict[str, Any]:
    """An attribute that was written as a mapping; UserError where it is none."""
    path = Path(file.filename)
    with reading_file(path):
        found = json.loads(file.attrs[key])
        if not isinstance(found, dict):
            raise FaultError(f"attribute {key} is no mapping")
        return found


def read_attributes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """All attributes of a result file of any schema, checked by its seals; errors of `open_hdf5`."""
    path = Path(path)
    with reading_file(path):
        if not path.is_file():
            raise UserError(f"{path}: not found; expected a result file; look at the path, or make it")
        whole = _is_whole(path)
        with h5py.File(path, "r") as file:
            attributes = attributes_of(file)
        require_attribute_seal(attributes)
        if not whole and path.stat().st_size <= SEALED_BYTES:
            raise FaultError("changed since it was written: it has lost the seal at its end")
        return attributes


def read_names(file: h5py.File, name: str) -> list[str]:
    """A dataset of strings as a list."""
    values = file[name][()]
    with reading_file(Path(file.filename)):
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def check_content(path: Path) -> None:
    """Read all of a result file, block by block, and compare it with what it says of itself.

    Raises:
        UserError: those of `open_hdf5`, or a data set is not as it was written.
    """
    with reading_file(path):
        _is_whole(path)
        with h5py.File(path, "r") as plain:
            schema = schema_of(plain)
    with open_hdf5(path, schema) as checked:
        file = cast(CheckedFile, checked)
        for name, one in file.described.items():
            if one["sha256"] is not None:
                with reading_file(path):
                    require_values(name, one, values_digest(file.plain(name)))
        if CONTENT in file.attrs and schema in LAYOUTS:
            digest = hashlib.sha256()
            with reading_file(path):
                for name in LAYOUTS[schema].datasets:
                    for block in blocks_of(file.plain(name)):
                        digest.update(block.tobytes())
                if digest.hexdigest() != file.attrs[CONTENT]:
                    raise FaultError(f"the data sets are not those that {CONTENT} is of")


def _is_whole(path: Path) -> bool:
    """Whether a file ends with a seal, and so is as it was written; SealError where the seal is of other bytes."""
    if seal_of_end(path) is None:
        return False
    try:
        require_seal_at_end(path)
    except SealError:
        _require_unlocked(path)
        raise
    return True


def _require_unlocked(path: Path) -> None:
    """BlockingIOError where a writer holds the lock that HDF5 takes; no error where the file system has no locks."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass
