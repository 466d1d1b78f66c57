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

import pandas as pd
from numpy.typing import NDArray

from mcoherence.errors import UserError
from mcoherence.files.atomic import write_text
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.monitoring.reading import HDF5_SUFFIXES, tidy_rows
from mcoherence.monitoring.rows import Measurements, file_groups, file_layers, sums_of
from mcoherence.study.result_names import COHERENCE_SCHEMA


class MonitorFile(Protocol):
    """Where measurements are kept."""

    def replace(self, measured: Measurements | None) -> None:
        """Begin with these measurements, and nothing else; None: with none, whatever was there is set aside."""

    def append(self, measured: Measurements) -> None:
        """Add the last of these measurements; the others are there already."""


def monitor_file(path: str | os.PathLike[str], origin: Callable[[], Mapping[str, Any]]) -> MonitorFile:
    """The file at a path, by its suffix; nothing is written yet.

    Args:
        path: ends in .csv, .h5 or .hdf5.
        origin: gives what an HDF5 file says of its origin, once it is asked.

    Raises:
        UserError: it has another suffix.
    """
    path = Path(path)
    if path.suffix == ".csv":
        return _CsvFile(path)
    if path.suffix in HDF5_SUFFIXES:
        return _Hdf5File(path, origin)
    raise UserError(f"path: found {path}, expected a name that ends in .csv, .h5 or .hdf5")


class _CsvFile:
    """Rows of a CSV file that nobody else writes to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0

    def replace(self, measured: Measurements | None) -> None:
        if measured is None:
            _set_aside(self._path)
            self._size = 0
            return
        rows = [_csv(tidy_rows(sums_of(one)), header=k == 0) for k, one in enumerate(measured.each())]
        text = "".join(rows)
        write_text(self._path, text)
        self._size = len(text.encode())

    def append(self, measured: Measurements) -> None:
        block = _csv(tidy_rows(sums_of(measured.last())), header=self._size == 0).encode()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab", buffering=0) as file:
            found = os.fstat(file.fileno()).st_size
            if found != self._size:
                raise UserError(
                    f"{self._path}: found {found} bytes, expected the {self._size} that this monitor has written; give "
                    "every monitor a file of its own"
                )
            try:
                if file.write(block) != len(block):
                    raise OSError(f"{self._path}: the disk took part of a measurement only")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(self._size)
                raise
        self._size += len(block)


class _Hdf5File:
    """A file of the schema of coherence.h5."""

    def __init__(self, path: Path, origin: Callable[[], Mapping[str, Any]]) -> None:
        self._path, self._origin = path, origin

    def replace(self, measured: Measurements | None) -> None:
        if measured is None:
            _set_aside(self._path)
        else:
            self.append(measured)

    def append(self, measured: Measurements) -> None:
        sums, layers = sums_of(measured), measured.record.layers
        datasets: dict[str, NDArray[Any] | Sequence[str]] = {
            "step": sums.step,
            "epoch": sums.epoch,
            "diverged": sums.diverged,
            "group": file_groups(measured.groups),
            "layer": file_layers(layers),
            "layer_type": [measured.layer_types.get(layer, "") for layer in layers],
            "parameter": measured.record.parameters,
            "parameter_layer": measured.record.parameter_layer,
            **measured.record.sums(),
        }
        write_hdf5(self._path, COHERENCE_SCHEMA, datasets, {**self._origin(), "evidence": measured.evidence.as_json()})


def _csv(rows: pd.DataFrame, header: bool) -> str:
    text = io.StringIO()
    rows.to_csv(text, index=False, header=header, lineterminator="\n")
    return text.getvalue()


def _set_aside(path: Path) -> None:
    """Give a file of an earlier run another name, so that nothing is lost and no two runs share a file."""
    if not path.exists():
        return
    numbered = (path.with_name(f"{path.stem}.{number}{path.suffix}") for number in range(1, 10**6))
    free = next(name for name in numbered if not name.exists())
    path.rename(free)
    warnings.warn(f"{path}: of an earlier run, whose state was not loaded; renamed to {free.name}", stacklevel=2)
