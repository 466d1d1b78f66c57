"""An open HDF5 file whose structure and attributes were checked, and whose data sets check themselves when read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d
from numpy.typing import NDArray

from mcoherence.files.faults import REMEDY, Hdf5FaultError
from mcoherence.files.hdf5_digests import (
    DIGESTS,
    attributes_of,
    new_digest,
    require_attribute_seal,
    require_values,
    stored_type,
    update_digest,
)
from mcoherence.files.hdf5_faults import FaultError, OtherSchemaFaultError, reading_file, selecting_values
from mcoherence.files.hdf5_structure import check_layout, check_stored, check_structure, contents_of, schema_of


class _Attributes(dict[str, Any]):
    """The attributes of a file, read once and checked by its seal."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._path = path

    def __missing__(self, key: str) -> Any:
        raise Hdf5FaultError(self._path, f"incomplete, it has no attribute {key}", REMEDY)


class CheckedFile(h5py.File):  # type: ignore[misc]
    """A file whose structure and attributes were checked, and whose data sets check themselves when they are read."""

    def __init__(self, file: h5py.File, path: Path, schema: str) -> None:
        super().__init__(file.id)
        self._path = path
        self._plain = file
        found = schema_of(file)
        if found != schema:
            raise OtherSchemaFaultError(found, schema)
        attributes = attributes_of(file)
        contents = contents_of(attributes)
        check_structure(file, contents)
        self._datasets: dict[str, h5py.Dataset] = {name: file[name] for name in contents}
        for name, dataset in self._datasets.items():
            check_stored(name, dataset, path.stat().st_size)
        check_layout(schema, self._datasets, attributes)
        require_attribute_seal(attributes)
        self.described: dict[str, dict[str, Any]] = json.loads(attributes[DIGESTS])
        if sorted(self.described) != contents:
            raise FaultError(f"{DIGESTS} and contents name other data sets")
        for name, one in self.described.items():
            dataset = self._datasets[name]
            if [one["dtype"], one["shape"]] != [stored_type(dataset), list(dataset.shape)]:
                raise FaultError(f"{name} is not as it was written: it has another type or shape")
        self._attributes = _Attributes(path, attributes)

    @property
    def attrs(self) -> _Attributes:
        """The attributes; UserError for one that is not there."""
        return self._attributes

    def group(self, name: str) -> h5py.Group:
        """A group as h5py has it."""
        return self._plain[name]

    def plain(self, name: str) -> h5py.Dataset:
        """A data set that is not compared with its digest when it is read."""
        return self._datasets[name]

    def __getitem__(self, name: Any) -> Any:
        with reading_file(self._path):
            if not isinstance(name, str) or name.strip("/") not in self.described:
                return _CheckedGroup(self, str(name).strip("/"))
            name = name.strip("/")
            return _CheckedDataset(self._datasets[name].id, self._path, name, self.described[name])

    def get(self, name: Any, default: Any = None, **options: Any) -> Any:
        """As h5py's, whose data sets would not check themselves."""
        if options or name not in self:
            return super().get(name, default, **options)
        return self[name]


class _CheckedGroup(h5py.Group):  # type: ignore[misc]
    """A group of a checked file: its members are those of the file."""

    def __init__(self, file: CheckedFile, name: str) -> None:
        if not any(one.startswith(f"{name}/") for one in file.described):
            raise FaultError(f"incomplete, {name} is missing")
        super().__init__(file.group(name).id)
        self._file, self._prefix = file, name

    def __getitem__(self, name: Any) -> Any:
        return self._file[f"{self._prefix}/{name}"]

    def get(self, name: Any, default: Any = None, **options: Any) -> Any:
        """As h5py's, whose data sets would not check themselves."""
        if options or name not in self:
            return super().get(name, default, **options)
        return self[name]


class _CheckedDataset(h5py.Dataset):  # type: ignore[misc]
    """A data set that is compared with its digest where it is read whole."""

    def __init__(self, identifier: h5d.DatasetID, path: Path, name: str, described: Mapping[str, Any]) -> None:
        super().__init__(identifier, readonly=True)
        self._path, self._name, self._described = path, name, described

    def __getitem__(self, args: Any, new_dtype: Any = None) -> Any:
        with selecting_values(self._path):
            values = super().__getitem__(args, new_dtype)
        whole = args is Ellipsis or (isinstance(args, tuple | slice) and args in ((), slice(None)))
        if whole and new_dtype is None and self._described["sha256"] is not None:
            with reading_file(self._path):
                digest = new_digest(self)
                update_digest(digest, np.asarray(values))
                require_values(self._name, self._described, digest.hexdigest())
        return values

    def __array__(self, dtype: Any = None, copy: Any = True) -> NDArray[Any]:
        return np.asarray(self[()], dtype=dtype)
