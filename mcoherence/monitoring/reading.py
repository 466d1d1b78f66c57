"""The file of a monitor as the tidy table `coherence`, which the figures of a study are drawn from; takes no torch."""

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mcoherence.errors import UserError, first_line
from mcoherence.study.result_names import COHERENCE_SCHEMA, FULL
from mcoherence.tables.coherence import coherence_by_layer
from mcoherence.tables.columns import RUN_COLUMNS, TRAIN_GROUP, WHOLE_NETWORK
from mcoherence.tables.sums import Sums

HDF5_SUFFIXES = (".h5", ".hdf5")
_TEXT = ("group", "layer", "layer_type", "batch_norm")
# The columns that name a run in the tables of a study, for one that is none of a study's.
_RUN: dict[str, Any] = {
    "dataset": "probe",
    "model": "network",
    "labels": "given",
    "noise": 0.0,
    "optimizer": "own",
    "subset": FULL,
    "seed": 0,
}


def coherence_table(path: str | os.PathLike[str], **run: Any) -> pd.DataFrame:
    """The rows of a monitor's file as the tidy table `coherence`, which the figures of a study are drawn from.

    A row a step, group and layer; "model" is the whole network, "train" the training sample, "all" the whole
    sample (see `tidy_rows`). What a kill has cut at the end of a CSV file is left out.

    Args:
        path: of the file that a monitor wrote.
        run: what the columns that name a run are to hold: dataset, model, labels, noise, optimizer, subset, seed. Of
            several runs, whose names differ, the tables can be joined with `pandas.concat`.

    Raises:
        UserError: the file is missing, none that a monitor writes, or damaged; `run` has another name.

    Example::

        table = coherence_table("coherence.csv", optimizer="sgd", seed=3)
        from mcoherence.figures.coherence_by_step import draw
        draw({"coherence": table}, FigureStyle({"sgd": "#0072b2"}, "sgd"))
    """
    if unknown := run.keys() - set(RUN_COLUMNS):
        raise UserError(f"run: found {sorted(unknown)}, expected names out of {list(RUN_COLUMNS)}")
    path = Path(path)
    rows = tidy_rows(Sums.read(path, COHERENCE_SCHEMA)) if path.suffix in HDF5_SUFFIXES else _read_csv(path)
    names = {column: (_RUN | run)[column] for column in RUN_COLUMNS}
    return pd.concat([pd.DataFrame(names, index=rows.index), rows], axis=1)


def tidy_rows(sums: Sums) -> pd.DataFrame:
    """The rows of the table `coherence`, without the columns that name a run: a row a step, group and layer.

    By step; the last row of each is that of the whole network on the training sample, so that one can tell whether a
    measurement is there whole. Groups are those measured, "all" of them together, and "train", which figures draw: see
    `mcoherence.monitoring.rows.file_unions`.
    """
    if not sums.has(TRAIN_GROUP):
        sums = replace(sums, unions={**sums.unions, TRAIN_GROUP: sums.groups})
    named = [group for group in dict.fromkeys([*sums.groups, *sums.unions]) if group != TRAIN_GROUP]
    rows = coherence_by_layer(sums, [*named, TRAIN_GROUP])
    is_whole = (rows["layer"] == WHOLE_NETWORK) & (rows["group"] == TRAIN_GROUP)
    return (
        rows.assign(_last=is_whole)
        .sort_values(["step", "_last"], kind="stable", ignore_index=True)
        .drop(columns="_last")
    )


def _read_csv(path: Path) -> pd.DataFrame:
    """The rows of whole measurements."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: missing or unreadable ({error.strerror}), expected the file of a monitor") from error
    whole = content[: content.rfind(b"\n") + 1]
    try:
        text = pd.read_csv(io.BytesIO(whole), dtype=str, keep_default_na=False)
        rows = pd.DataFrame({column: [_value(str(column), cell) for cell in text[column]] for column in text})
        last = (rows["group"] == TRAIN_GROUP) & (rows["layer"] == WHOLE_NETWORK)
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{path}: no rows of a monitor ({first_line(error)}), expected the CSV that one wrote"
        ) from error
    return rows[rows["step"].isin(rows.loc[last, "step"])].reset_index(drop=True)


def _value(column: str, cell: str) -> Any:
    """What a cell of a CSV file holds; every digit counts, and the name of a layer may be empty."""
    if column in ("step", "n"):
        return int(cell)
    if column == "diverged":
        return {"True": True, "False": False}[cell]
    return cell if column in _TEXT else float(cell or "nan")
