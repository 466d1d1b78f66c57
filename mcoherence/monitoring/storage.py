"""The file of a monitor: the rows of the table `coherence` as CSV, or a coherence.h5 as a study has it.

CSV: the rows of a measurement are written in one go and flushed to disk, so that a kill loses at most those of the
measurement in work; what a kill has cut is passed over by the reader, and gone when the monitor goes on from its state.
HDF5: the file is written anew after every measurement, under another name, and put in its place; it is always whole.
"""

import io
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.errors import UserError
from mcoherence.files.atomic import naming, write_text
from mcoherence.files.hdf5 import open_hdf5, read_names, write_hdf5
from mcoherence.files.stamp import stamp_of
from mcoherence.monitoring.reading import HDF5_SUFFIXES, tidy_rows
from mcoherence.monitoring.rows import Measurements, file_groups, file_layers, file_unions, sums_of
from mcoherence.study.result_names import COHERENCE_SCHEMA


class MonitorFile(Protocol):
    """Where measurements are kept."""

    def replace(self, measured: Measurements | None) -> None:
        """Begin with these measurements, and nothing else; None: with none.

        What is there already is set aside, but for a file that begins with these measurements, or is a beginning of
        them: it is of the same run, and what it holds beyond them will be measured again.
        """

    def append(self, last: Measurements, every: Callable[[], Measurements]) -> None:
        """Add a measurement, K = 1, to those that are there already; `every` gives all of them, that one included.

        A file that somebody has removed meanwhile is written anew, with a warning.
        """

    def take_back(self, left: Measurements | None) -> None:
        """Take back the measurement that was added last; what is `left` of all, None for nothing."""


def monitor_file(path: str | os.PathLike[str], origin: Callable[[], Mapping[str, Any]]) -> MonitorFile:
    """The file at a path, by its suffix; nothing is written yet.

    Args:
        path: ends in .csv, .h5 or .hdf5.
        origin: gives what an HDF5 file says of its origin, once it is asked.

    Raises:
        UserError: it has another suffix, is a folder, or lies where nothing can be written.
    """
    try:
        path = Path(path)
    except TypeError:
        raise UserError(f"path: found {path!r}, expected the name of a file, or none") from None
    if path.suffix != ".csv" and path.suffix not in HDF5_SUFFIXES:
        raise UserError(f"path: found {path}, expected a name that ends in .csv, .h5 or .hdf5")
    if path.is_dir():
        raise UserError(f"path: found {path}, which is a folder, expected the name of a file in it")
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        what = "in which nothing can be written" if folder.is_dir() else "which is no folder"
        raise UserError(f"path: found {path} in {folder}, {what}; choose a folder of yours")
    return _CsvFile(path) if path.suffix == ".csv" else _Hdf5File(path, origin)


class _CsvFile:
    """Rows of a CSV file that nobody else writes to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size, self._size_before = 0, 0  # of the file, and before the last measurement
        self._number: int | None = None  # of the file itself: another one in its place has another inode

    def replace(self, measured: Measurements | None) -> None:
        rows = [] if measured is None else list(measured.each())
        text = "".join(_csv(tidy_rows(sums_of(one)), header=k == 0) for k, one in enumerate(rows)).encode()
        _set_aside_unless(self._path, lambda: bool(text) and self._is_of_run(text))
        self._size, self._number = len(text), None
        if text:
            write_text(self._path, text.decode())
            self._number = self._path.stat().st_ino

    def append(self, last: Measurements, every: Callable[[], Measurements]) -> None:
        if self._size and not self._path.exists():
            self._write_anew(every())
            return
        block = _csv(tidy_rows(sums_of(last)), header=self._size == 0).encode()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with naming(self._path), self._path.open("ab", buffering=0) as file:
            found = os.fstat(file.fileno())
            if found.st_size != self._size or self._number not in (None, found.st_ino):
                other = "another file" if found.st_size == self._size else f"{found.st_size} bytes"
                raise UserError(
                    f"{self._path}: found {other}, expected the {self._size} that this monitor has written and nobody "
                    "else; give every monitor a file of its own"
                )
            self._number = found.st_ino
            try:
                if file.write(block) != len(block):
                    raise OSError(f"{self._path}: the disk took part of a measurement only")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(self._size)
                raise
        self._size_before, self._size = self._size, self._size + len(block)

    def take_back(self, left: Measurements | None) -> None:
        found = self._path.stat()
        if (found.st_size, found.st_ino) != (self._size, self._number):
            return  # not ours: the next measurement says so
        if self._size_before:
            os.truncate(self._path, self._size_before)
        else:
            self._path.unlink()
            self._number = None
        self._size = self._size_before

    def _write_anew(self, every: Measurements) -> None:
        _warn_of_removal(self._path)
        before = self._size
        self.replace(every)
        self._size_before = before

    def _is_of_run(self, text: bytes) -> bool:
        """Whether the rows that are there begin with these, or these with them."""
        with self._path.open("rb") as file:
            found = file.read(len(text))
        return text.startswith(found)


class _Hdf5File:
    """A file of the schema of coherence.h5 that nobody else writes to."""

    def __init__(self, path: Path, origin: Callable[[], Mapping[str, Any]]) -> None:
        self._path, self._origin = path, origin
        self._written: tuple[int, ...] | None = None  # what is told of the file that was written last

    def replace(self, measured: Measurements | None) -> None:
        _set_aside_unless(self._path, lambda: measured is not None and self._is_of_run(measured))
        if measured is not None:
            self._write(measured)
        else:
            self._written = None

    def append(self, last: Measurements, every: Callable[[], Measurements]) -> None:
        found = stamp_of(self._path)
        if found is None and self._written is not None:
            _warn_of_removal(self._path)
        elif found != self._written:
            raise UserError(
                f"{self._path}: found another file than this monitor has written last; give every monitor a file of "
                "its own"
            )
        self._write(every())

    def take_back(self, left: Measurements | None) -> None:
        if stamp_of(self._path) != self._written:
            return  # not ours: the next measurement says so
        if left is not None:
            self._write(left)
        else:
            self._path.unlink()
            self._written = None

    def _write(self, measured: Measurements) -> None:
        record, groups = measured.record, file_groups(measured.groups)
        datasets: dict[str, NDArray[Any] | Sequence[str]] = {
            "step": measured.steps,
            "epoch": np.full(len(measured.steps), np.nan),
            "diverged": measured.diverged,
            "group": groups,
            "layer": file_layers(record.layers),
            "layer_type": [measured.layer_types.get(layer, "") for layer in record.layers],
            "parameter": record.parameters,
            "parameter_layer": record.parameter_layer,
            **record.sums(),
        }
        attributes = {**self._origin(), "evidence": measured.evidence.as_json()}
        if unions := file_unions(measured.groups):
            attributes["unions"] = {name: list(of) for name, of in unions.items()}
        write_hdf5(self._path, COHERENCE_SCHEMA, datasets, attributes)
        self._written = stamp_of(self._path)

    def _is_of_run(self, measured: Measurements) -> bool:
        """Whether the file is of the same sample and parameters, and the measurements begin alike."""
        mine = {"step": measured.steps, "diverged": measured.diverged, **measured.record.sums()}
        try:
            with open_hdf5(self._path, COHERENCE_SCHEMA) as file:
                names = {name: tuple(read_names(file, name)) for name in ("group", "parameter")}
                found = {name: file[name][:] for name in ("step", "diverged", "n", "sum_sq_norm", "gram")}
                sample = file.attrs.get("sample_sha256")
        except (UserError, KeyError, OSError):
            return False
        known = min(len(measured.steps), len(found["step"]))
        return (
            names == {"group": file_groups(measured.groups), "parameter": measured.record.parameters}
            and sample == self._origin()["sample_sha256"]
            and all(
                np.array_equal(values[:known], mine[name][:known], equal_nan=values.dtype.kind == "f")
                for name, values in found.items()
            )
        )


def _warn_of_removal(path: Path) -> None:
    warnings.warn(f"{path}: removed since the last measurement; written anew, with all measurements", stacklevel=2)


def _csv(rows: pd.DataFrame, header: bool) -> str:
    text = io.StringIO()
    rows.to_csv(text, index=False, header=header, lineterminator="\n")
    return text.getvalue()


def _set_aside_unless(path: Path, is_of_run: Callable[[], bool]) -> None:
    """Give a file of another run another name, so that nothing is lost and no two runs share a file."""
    if not path.exists() or is_of_run():
        return
    numbered = (path.with_name(f"{path.stem}.{number}{path.suffix}") for number in range(1, 10**6))
    free = next(name for name in numbered if not name.exists())
    path.rename(free)
    warnings.warn(
        f"{path}: of another run than this one, or of one whose state was not loaded; renamed to {free.name}",
        stacklevel=2,
    )
