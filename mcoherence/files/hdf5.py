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
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
from h5py import h5d, h5z
from numpy.typing import NDArray

from mcoherence.errors import UserError
from mcoherence.files.atomic import atomic_path
from mcoherence.files.canonical import canonical_json
from mcoherence.files.layouts import LAYOUTS, LETTERS, Stored, stored_as
from mcoherence.files.seals import SEAL, SEALED_BYTES, SealError, require_seal_at_end, seal_at_end, seal_of_end

Attributes = Mapping[str, Any]
Shape = tuple[int, ...]

DIGESTS = "digests"
CONTENT = "content_sha256"  # of data sets that are too large for a digest of their own
OF_THE_FILE = ("schema", "contents", DIGESTS, SEAL)  # attributes that `new_hdf5` writes
FILTERS = {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32}
MOST_DEFLATED = 1100  # bytes that one byte on disk can stand for
HASHED_BYTES = 2**26  # of a data set that are hashed at a time
MOST_ATTRIBUTE_VALUES = 10**6


class _WrongError(ValueError):
    """What is wrong with a file, without its name."""


def write_hdf5(
    path: Path, schema: str, datasets: Mapping[str, NDArray[Any] | Sequence[str]], attributes: Attributes
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
def new_hdf5(path: Path, schema: str) -> Iterator[h5py.File]:
    """An HDF5 file to fill piece by piece; it is at `path`, with list of contents and seal, once the block ended well.

    Raises:
        UserError: what was written is not as the schema's layout says.
    """
    with atomic_path(path) as temporary:
        with h5py.File(temporary, "w", libver="v110") as file:
            yield file
            try:
                _describe(file, schema)
            except _WrongError as wrong:
                raise UserError(f"{path}: {wrong}; this cannot be stored as {schema}") from wrong
        if temporary.stat().st_size <= SEALED_BYTES:
            seal_at_end(temporary)


def _describe(file: h5py.File, schema: str) -> None:
    """Write the attributes OF_THE_FILE."""
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    file.attrs["schema"] = schema
    file.attrs["contents"] = json.dumps(sorted(names))
    file.attrs[DIGESTS] = canonical_json({name: _described(file[name], schema, name) for name in names})
    attributes = _attributes_of(file)
    _check_layout(schema, {name: file[name] for name in names}, attributes)
    file.attrs[SEAL] = _seal_of(attributes)


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
    """A result file opened for reading and checked, but for what is in its data sets: they are when they are read.

    Of the file that is yielded, `file[name]` and what is read of it, and `file.attrs[key]`, raise UserError where the
    file is damaged or has no such thing. Errors of the block itself are left alone.

    Raises:
        UserError: the file is missing, unreadable, of another schema, incomplete, changed since it was written, or it
            holds something else than the schema's data sets.
    """
    with _reading(path):
        if not path.is_file():
            raise UserError(f"{path}: not found; expected a {schema} file; run the rule that makes it")
        whole = _is_whole(path)
        file = h5py.File(path, "r")
    try:
        with _reading(path):
            checked = _CheckedFile(file, path, schema)
            if not whole and path.stat().st_size <= SEALED_BYTES:
                raise _WrongError("changed since it was written: it has lost the seal at its end")
        yield checked
    finally:
        file.close()


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
    with _reading(path):
        found = json.loads(file.attrs[key])
        if not isinstance(found, dict):
            raise _WrongError(f"attribute {key} is no mapping")
        return found


def read_attributes(path: Path) -> dict[str, Any]:
    """All attributes of a result file of any schema, checked by its seals; errors of `open_hdf5`."""
    with _reading(path):
        if not path.is_file():
            raise UserError(f"{path}: not found; expected a result file; run the rule that makes it")
        whole = _is_whole(path)
        with h5py.File(path, "r") as file:
            attributes = _attributes_of(file)
        _require_attribute_seal(attributes)
        if not whole and path.stat().st_size <= SEALED_BYTES:
            raise _WrongError("changed since it was written: it has lost the seal at its end")
        return attributes


def _require_attribute_seal(attributes: Attributes) -> None:
    if SEAL not in attributes or DIGESTS not in attributes:
        raise _WrongError("it carries no seal: another program wrote it, or an earlier version of this one")
    if attributes[SEAL] != _seal_of(attributes):
        raise _WrongError("changed since it was written: its attributes and its seal differ")


def read_names(file: h5py.File, name: str) -> list[str]:
    """A dataset of strings as a list."""
    values = file[name][()]
    with _reading(Path(file.filename)):
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def check_content(path: Path) -> None:
    """Read all of a result file, block by block, and compare it with what it says of itself.

    Raises:
        UserError: those of `open_hdf5`, or a data set is not as it was written.
    """
    with _reading(path):
        _is_whole(path)
        with h5py.File(path, "r") as plain:
            schema = _schema_of(plain)
    with open_hdf5(path, schema) as checked:
        file = cast(_CheckedFile, checked)
        for name, one in file.described.items():
            if one["sha256"] is not None:
                with _reading(path):
                    _require_digest(name, one, _digest_of(file.plain(name)))
        if CONTENT in file.attrs and schema in LAYOUTS:
            digest = hashlib.sha256()
            with _reading(path):
                for name in LAYOUTS[schema].datasets:
                    for block in _blocks_of(file.plain(name)):
                        digest.update(block.tobytes())
                if digest.hexdigest() != file.attrs[CONTENT]:
                    raise _WrongError(f"the data sets are not those that {CONTENT} is of")


# What is wrong with a file.


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever HDF5 makes of a file into one line; nothing of a caller's may stand in the block."""
    remedy = "delete the file and run again"
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.errno is None:
            raise UserError(f"{path}: damaged ({_first_line(error)}); {remedy}") from error
        # not the file's fault: locked by a writer, not ours to read, too many files open
        reason = error.strerror or _first_line(error)
        raise UserError(
            f"{path}: cannot be read now ({reason}); expected a file that this user may read and nobody writes to; "
            "wait, or change its permissions, and run again"
        ) from error
    except SealError as error:
        raise UserError(f"{path}: damaged ({error}); {remedy}") from error
    except _WrongError as wrong:
        raise UserError(f"{path}: {wrong}; {remedy}") from wrong
    except (
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        MemoryError,
        SystemError,
    ) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}: {_first_line(error)}); {remedy}") from error


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


def _first_line(error: BaseException) -> str:
    return repr((str(error).splitlines() or [type(error).__name__])[0])[1:-1]


class _Attributes(dict[str, Any]):
    """The attributes of a file, read once and checked by its seal."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._path = path

    def __missing__(self, key: str) -> Any:
        raise UserError(f"{self._path}: incomplete, it has no attribute {key}; delete the file and run again")


class _CheckedFile(h5py.File):  # type: ignore[misc]
    """A file whose structure and attributes were checked, and whose data sets check themselves when they are read."""

    def __init__(self, file: h5py.File, path: Path, schema: str) -> None:
        super().__init__(file.id)
        self._path = path
        self._plain = file
        found = _schema_of(file)
        if found != schema:
            raise _WrongError(f"found {found}, expected {schema}")
        attributes = _attributes_of(file)
        contents = _contents_of(attributes)
        _check_structure(file, contents)
        self._datasets: dict[str, h5py.Dataset] = {name: file[name] for name in contents}
        for name, dataset in self._datasets.items():
            _check_stored(name, dataset, path.stat().st_size)
        _check_layout(schema, self._datasets, attributes)
        _require_attribute_seal(attributes)
        self.described: dict[str, dict[str, Any]] = json.loads(attributes[DIGESTS])
        if sorted(self.described) != contents:
            raise _WrongError(f"{DIGESTS} and contents name other data sets")
        for name, one in self.described.items():
            dataset = self._datasets[name]
            if [one["dtype"], one["shape"]] != [_type_of(dataset), list(dataset.shape)]:
                raise _WrongError(f"{name} is not as it was written: it has another type or shape")
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
        with _reading(self._path):
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

    def __init__(self, file: _CheckedFile, name: str) -> None:
        if not any(one.startswith(f"{name}/") for one in file.described):
            raise _WrongError(f"incomplete, {name} is missing")
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
        with _selecting(self._path):
            values = super().__getitem__(args, new_dtype)
        whole = args is Ellipsis or (isinstance(args, tuple | slice) and args in ((), slice(None)))
        if whole and new_dtype is None and self._described["sha256"] is not None:
            with _reading(self._path):
                digest = _new_digest(self)
                _update(digest, np.asarray(values))
                _require_digest(self._name, self._described, digest.hexdigest())
        return values

    def __array__(self, dtype: Any = None, copy: Any = True) -> NDArray[Any]:
        return np.asarray(self[()], dtype=dtype)


@contextmanager
def _selecting(path: Path) -> Iterator[None]:
    """As `_reading`, for a read whose selection is the caller's: an index out of range stays the caller's error."""
    try:
        yield
    except (OSError, RuntimeError, MemoryError, UnicodeError) as error:
        with _reading(path):
            raise error


def _schema_of(file: h5py.File) -> str:
    if "schema" not in file.attrs:
        return "no schema"
    found = _attribute(file, "schema")
    return found if isinstance(found, str) else f"a schema that is no text ({type(found).__name__})"


def _contents_of(attributes: Attributes) -> list[str]:
    if "contents" not in attributes:
        raise _WrongError("incomplete, it has no list of contents")
    contents = json.loads(attributes["contents"])
    if not isinstance(contents, list) or not all(isinstance(name, str) for name in contents):
        raise _WrongError("its list of contents is none")
    return sorted(contents)


def _check_structure(file: h5py.File, contents: Sequence[str]) -> None:
    """Check that a file holds the data sets of its list, each where it says, and nothing else: no link elsewhere."""
    groups = {name[:position] for name in contents for position, one in enumerate(name) if one == "/"}
    expected_sets, found = set(contents), set[str]()

    def walk(group: h5py.Group, prefix: str) -> None:
        for name in group:
            full = f"{prefix}{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise _WrongError(f"{full} is {_named(link)}, expected what it names in this very file")
            kind = group.get(name, getclass=True)
            expected = h5py.Dataset if full in expected_sets else h5py.Group
            if full not in expected_sets and full not in groups:
                raise _WrongError(f"{full} is not in its list of contents")
            if kind is not expected:
                raise _WrongError(f"{full} is a {kind.__name__.lower()}, expected a {expected.__name__.lower()}")
            found.add(full)
            if kind is h5py.Group:
                walk(group[name], f"{full}/")

    walk(file, "")
    missing = [name for name in contents if name not in found]
    if missing:
        raise _WrongError(f"incomplete, {missing[0]} is missing")


def _named(link: Any) -> str:
    """What kind of link it is, in words."""
    if isinstance(link, h5py.ExternalLink):
        return f"an external link to another file ({link.filename!r})"
    return f"a soft link ({link.path!r})" if isinstance(link, h5py.SoftLink) else "a link of an unknown kind"


def _check_stored(name: str, dataset: h5py.Dataset, size: int) -> None:
    """Check that a data set lies in its file, by filters that this project uses, and is no larger than it can be."""
    how = dataset.id.get_create_plist()
    if how.get_layout() == h5d.VIRTUAL:
        raise _WrongError(f"{name} is a virtual data set, whose values lie in other files; expected them in this one")
    if how.get_external_count():
        raise _WrongError(f"{name} has its values in an external file, expected them in this one")
    filters = [how.get_filter(number)[0] for number in range(how.get_nfilters())]
    other = [one for one in filters if one not in FILTERS]
    if other or len(set(filters)) < len(filters):
        raise _WrongError(f"{name} is stored by the filters {filters}, expected at most one each of {sorted(FILTERS)}")
    most = size * (MOST_DEFLATED if h5z.FILTER_DEFLATE in filters else 1)
    declared = math.prod(dataset.shape or ()) * dataset.dtype.itemsize
    if dataset.shape is None or declared > most:
        raise _WrongError(f"{name} says that it has {declared:,} bytes, which a file of {size:,} bytes cannot hold")


def _check_layout(schema: str, datasets: Mapping[str, h5py.Dataset], attributes: Attributes) -> None:
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
            raise _WrongError(f"{name} is no data set of {schema}")
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
            raise _WrongError(f"{where} has {size} entries for values up to {largest}, expected {largest + 1}")


def _check_kind(name: str, stored: Stored, dtype: np.dtype[Any]) -> None:
    text = dtype.kind == "U" or h5py.check_string_dtype(dtype) is not None
    fits = text if stored.kind == "text" else dtype.kind == LETTERS[stored.kind] and not text
    if not fits or (stored.kind == "pixels" and dtype.itemsize != 1):
        raise _WrongError(f"{name} has values of type {dtype}, expected {stored.kind} values")


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
        raise _WrongError(f"{name} has the shape {list(shape)}, expected {len(letters)} axes ({stored.axes})")
    for letter, size in zip(letters, shape, strict=False):
        known, where = sizes.setdefault(letter, (size, name))
        if letter != "." and known != size:
            raise _WrongError(f"{name} has the shape {list(shape)}, expected {known} along {letter}, as {where} has")


def _check_values(
    name: str, stored: Stored, values: NDArray[Any] | h5py.Dataset, sizes: Mapping[str, tuple[int, str]]
) -> int:
    """Check the range of the values of a data set or attribute, where it has one; returns the largest, -1 of none."""
    if stored.positive and not (np.isfinite(values) & (np.asarray(values) > 0)).all():
        raise _WrongError(f"{name} is {np.asarray(values).tolist()}, expected finite values above 0")
    if stored.least is None or math.prod(values.shape) == 0:
        return -1
    read = np.asarray(values[()])
    least, largest = int(read.min()), int(read.max())
    if least < stored.least:
        raise _WrongError(f"{name} has a value of {least}, expected none below {stored.least}")
    size, where = sizes.get(stored.below or "", (largest + 1, name))
    if largest >= size:
        raise _WrongError(f"{name} has a value of {largest}, expected less than the {size} entries of {where}")
    return largest


# Digests.


def _type_of(dataset: h5py.Dataset) -> str:
    """The type of a data set as its digest names it: "text", or numpy's name with the order of bytes."""
    return "text" if h5py.check_string_dtype(dataset.dtype) is not None else str(dataset.dtype.str)


def _described(dataset: h5py.Dataset, schema: str, name: str) -> dict[str, Any]:
    stored = stored_as(schema, name)
    streamed = stored is not None and stored.streamed
    digest = None if streamed else _digest_of(dataset)
    return {"dtype": _type_of(dataset), "shape": list(dataset.shape), "sha256": digest}


def _new_digest(dataset: h5py.Dataset) -> "hashlib._Hash":
    return hashlib.sha256(canonical_json([_type_of(dataset), list(dataset.shape)]).encode())


def _update(digest: "hashlib._Hash", values: NDArray[Any]) -> None:
    if values.dtype.kind == "O":
        digest.update(json.dumps([_text(value) for value in values.ravel()]).encode())
    else:
        digest.update(np.ascontiguousarray(values).tobytes())


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _digest_of(dataset: h5py.Dataset) -> str:
    """SHA-256 of type, shape and values of a data set, read in blocks."""
    digest = _new_digest(dataset)
    for block in _blocks_of(dataset):
        _update(digest, block)
    return digest.hexdigest()


def _blocks_of(dataset: h5py.Dataset) -> Iterator[NDArray[Any]]:
    """The values in order, some rows at a time; text at once."""
    rows = max(1, HASHED_BYTES // max(1, math.prod(dataset.shape[1:]) * dataset.dtype.itemsize))
    if dataset.ndim == 0 or dataset.dtype.kind == "O" or len(dataset) <= rows:
        yield np.asarray(dataset[()])
        return
    for start in range(0, len(dataset), rows):
        yield dataset[start : start + rows]


def _require_digest(name: str, described: Mapping[str, Any], found: str) -> None:
    if found != described["sha256"]:
        raise _WrongError(f"damaged, {name} is not as it was written")


def _attributes_of(file: h5py.File) -> dict[str, Any]:
    return {name: _attribute(file, name) for name in file.attrs}


def _attribute(file: h5py.File, name: str) -> Any:
    shape = file.attrs.get_id(name).shape
    if shape is None or math.prod(shape) > MOST_ATTRIBUTE_VALUES:
        raise _WrongError(
            f"attribute {name!r} has the shape {shape}, expected at most {MOST_ATTRIBUTE_VALUES:,} values"
        )
    return file.attrs[name]


def _seal_of(attributes: Attributes) -> str:
    described = {name: _as_json(value) for name, value in attributes.items() if name != SEAL}
    return hashlib.sha256(canonical_json(described).encode()).hexdigest()


def _as_json(value: Any) -> Any:
    """An attribute as text and numbers, equal for equal values and types alone."""
    array = np.asarray(value)
    if array.dtype.kind in "OUS":
        return [list(array.shape), [_text(one) for one in array.ravel()]]
    return [list(array.shape), array.dtype.str, array.tobytes().hex()]
