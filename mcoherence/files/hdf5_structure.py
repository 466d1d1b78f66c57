"""What may be in an HDF5 file: plain data sets in the file itself, of the kinds, axes and values of its schema."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5z
from numpy.typing import NDArray

from mcoherence.files.hdf5_digests import Attributes, attribute_of
from mcoherence.files.hdf5_faults import FaultError
from mcoherence.files.layouts import LAYOUTS, LETTERS, Stored, stored_as

Shape = tuple[int, ...]

FILTERS = {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32}
MOST_DEFLATED = 1100  # bytes that one byte on disk can stand for


def schema_of(file: h5py.File) -> str:
    """The schema that a file names, or words for what stands in its place."""
    if "schema" not in file.attrs:
        return "no schema"
    found = attribute_of(file, "schema")
    return found if isinstance(found, str) else f"a schema that is no text ({type(found).__name__})"


def contents_of(attributes: Attributes) -> list[str]:
    """The names of the data sets that a file lists, in alphabetical order; FaultError where it has no such list."""
    if "contents" not in attributes:
        raise FaultError("incomplete, it has no list of contents")
    contents = json.loads(attributes["contents"])
    if not isinstance(contents, list) or not all(isinstance(name, str) for name in contents):
        raise FaultError("its list of contents is none")
    return sorted(contents)


def check_structure(file: h5py.File, contents: Sequence[str]) -> None:
    """Check that a file holds the data sets of its list, each where it says, and nothing else: no link elsewhere."""
    groups = {name[:position] for name in contents for position, one in enumerate(name) if one == "/"}
    expected_sets, found = set(contents), set[str]()

    def walk(group: h5py.Group, prefix: str) -> None:
        for name in group:
            full = f"{prefix}{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise FaultError(f"{full} is {_named(link)}, expected what it names in this very file")
            kind = group.get(name, getclass=True)
            expected = h5py.Dataset if full in expected_sets else h5py.Group
            if full not in expected_sets and full not in groups:
                raise FaultError(f"{full} is not in its list of contents")
            if kind is not expected:
                raise FaultError(f"{full} is a {kind.__name__.lower()}, expected a {expected.__name__.lower()}")
            found.add(full)
            if kind is h5py.Group:
                walk(group[name], f"{full}/")

    walk(file, "")
    missing = [name for name in contents if name not in found]
    if missing:
        raise FaultError(f"incomplete, {missing[0]} is missing")


def _named(link: Any) -> str:
    """What kind of link it is, in words."""
    if isinstance(link, h5py.ExternalLink):
        return f"an external link to another file ({link.filename!r})"
    return f"a soft link ({link.path!r})" if isinstance(link, h5py.SoftLink) else "a link of an unknown kind"


def check_stored(name: str, dataset: h5py.Dataset, size: int) -> None:
    """Check that a data set lies in its file, by filters that this project uses, and is no larger than it can be."""
    how = dataset.id.get_create_plist()
    if how.get_layout() == h5d.VIRTUAL:
        raise FaultError(f"{name} is a virtual data set, whose values lie in other files; expected them in this one")
    if how.get_external_count():
        raise FaultError(f"{name} has its values in an external file, expected them in this one")
    filters = [how.get_filter(number)[0] for number in range(how.get_nfilters())]
    other = [one for one in filters if one not in FILTERS]
    if other or len(set(filters)) < len(filters):
        raise FaultError(f"{name} is stored by the filters {filters}, expected at most one each of {sorted(FILTERS)}")
    most = size * (MOST_DEFLATED if h5z.FILTER_DEFLATE in filters else 1)
    declared = math.prod(dataset.shape or ()) * dataset.dtype.itemsize
    if dataset.shape is None or declared > most:
        raise FaultError(f"{name} says that it has {declared:,} bytes, which a file of {size:,} bytes cannot hold")


def check_layout(schema: str, datasets: Mapping[str, h5py.Dataset], attributes: Attributes) -> None:
    """Check kinds, axes and values of the data sets and attributes of a file whose schema has a layout."""
    if schema not in LAYOUTS:
        return
    sizes: dict[str, tuple[int, str]] = {}  # by index letter, with where it was found
    known: dict[str, tuple[Stored, NDArray[Any] | h5py.Dataset]] = {}
    for key, stored in LAYOUTS[schema].attributes.items():
        if key in attributes:
            known[f"attribute {key}"] = stored, _as_array(attributes[key])
    for name, dataset in datasets.items():
        if (expected := stored_as(schema, name)) is None:
            raise FaultError(f"{name} is no data set of {schema}")
        known[name] = expected, dataset
    for name, (stored, values) in known.items():
        _check_kind(name, stored, values.dtype)
        _check_axes(name, stored, values.shape, sizes)
    last: dict[str, int] = {}
    for name, (stored, values) in known.items():
        largest = _check_values(name, stored, values, sizes)
        if stored.reaching and stored.below is not None:
            last[stored.below] = max(last.get(stored.below, -1), largest)
    for letter, largest in last.items():
        if letter in sizes and largest + 1 != sizes[letter][0]:
            size, where = sizes[letter]
            raise FaultError(f"{where} has {size} entries for values up to {largest}, expected {largest + 1}")


def _check_kind(name: str, stored: Stored, dtype: np.dtype[Any]) -> None:
    text = dtype.kind == "U" or h5py.check_string_dtype(dtype) is not None
    fits = text if stored.kind == "text" else dtype.kind == LETTERS[stored.kind] and not text
    if not fits or (stored.kind == "pixels" and dtype.itemsize != 1):
        raise FaultError(f"{name} has values of type {dtype}, expected {stored.kind} values")


def _as_array(value: Any) -> NDArray[Any]:
    """An attribute as an array, of numpy's own text where it is text."""
    array = np.asarray(value)
    is_text = array.dtype.kind == "O" and all(isinstance(one, str) for one in array.ravel())
    return array.astype(np.str_) if is_text else array


def _check_axes(name: str, stored: Stored, shape: Shape, sizes: dict[str, tuple[int, str]]) -> None:
    letters = stored.axes.split()
    further = letters[-1:] == ["..."]
    letters = letters[:-1] if further else letters
    if len(shape) < len(letters) or (len(shape) > len(letters) and not further):
        raise FaultError(f"{name} has the shape {list(shape)}, expected {len(letters)} axes ({stored.axes})")
    for letter, size in zip(letters, shape, strict=False):
        known, where = sizes.setdefault(letter, (size, name))
        if letter != "." and known != size:
            raise FaultError(f"{name} has the shape {list(shape)}, expected {known} along {letter}, as {where} has")


def _check_values(
    name: str, stored: Stored, values: NDArray[Any] | h5py.Dataset, sizes: Mapping[str, tuple[int, str]]
) -> int:
    """Check the range of the values of a data set or attribute, where it has one; returns the largest, -1 of none."""
    if stored.positive and not (np.isfinite(values) & (np.asarray(values) > 0)).all():
        raise FaultError(f"{name} is {np.asarray(values).tolist()}, expected finite values above 0")
    if stored.least is None or math.prod(values.shape) == 0:
        return -1
    read = np.asarray(values[()])
    least, largest = int(read.min()), int(read.max())
    if least < stored.least:
        raise FaultError(f"{name} has a value of {least}, expected none below {stored.least}")
    size, where = sizes.get(stored.below or "", (largest + 1, name))
    if largest >= size:
        raise FaultError(f"{name} has a value of {largest}, expected less than the {size} entries of {where}")
    return largest
