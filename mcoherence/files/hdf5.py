"""Self-describing HDF5 files: written whole, with equal bytes for equal content, and checked when they are read.

Readers check the schema, the list of contents and (through HDF5's fletcher32 filter) every block they read, and refuse
a file that fails with one clear line.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcoherence.errors import UserError
from mcoherence.files.atomic import atomic_path
from mcoherence.files.canonical import canonical_json

Attributes = Mapping[str, Any]


def write_hdf5(
    path: Path, schema: str, datasets: Mapping[str, NDArray[Any] | Sequence[str]], attributes: Attributes
) -> None:
    """Write an HDF5 file atomically; equal content gives equal bytes.

    Args:
        path: where to.
        schema: name and version of the layout, such as "mcoherence/labels/1"; readers ask for it by this name.
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
def new_hdf5(path: Path, schema: str) -> Iterator[h5py.File]:
    """An HDF5 file to fill piece by piece; it is at `path`, with its list of contents, once the block ended well."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w", libver="v110") as file:
        yield file
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        file.attrs["schema"] = schema
        file.attrs["contents"] = json.dumps(sorted(names))


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
def open_hdf5(path: Path, schema: str) -> Iterator[h5py.File]:
    """A result file opened for reading, its schema and completeness checked.

    Raises:
        UserError: the file is missing, unreadable, of another schema, incomplete, or a block fails its checksum.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; expected a {schema} file; run the rule that makes it")
    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get("schema", "no schema")
            if found != schema:
                raise UserError(f"{path}: found {found}, expected {schema}; delete the file and run again")
            missing = [name for name in json.loads(file.attrs["contents"]) if name not in file]
            if missing:
                raise UserError(f"{path}: incomplete, {missing[0]} is missing; delete the file and run again")
            yield file
    except OSError as error:
        raise UserError(f"{path}: damaged ({error}); delete the file and run again") from error


def read_hdf5(
    path: Path, schema: str, without: str | None = None
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
            datasets[name] = read_names(file, name) if names else file[name][:]
        attributes = {key: _parsed(value) for key, value in file.attrs.items() if key not in ("schema", "contents")}
    return datasets, attributes


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value.startswith("{") else value


def read_names(file: h5py.File, name: str) -> list[str]:
    """A dataset of strings as a list."""
    return [str(value) for value in file[name].asstr()[:]]
