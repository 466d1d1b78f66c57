"""The command `mcoherence`: files of measurements, shown in the terminal."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import mcoherence
from mcoherence.errors import UserError

_COLUMNS = ["step", "group", "layer", "n", "m_coherence", "alpha", "pairwise_alignment"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, call and print; returns the exit status: 1 after a user's mistake, which is one line on stderr."""
    parser = argparse.ArgumentParser("mcoherence", description=__doc__)
    parser.add_argument("--version", action="version", version=f"mcoherence {mcoherence.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="coherence along training, a row a step and group, as a table")
    show.add_argument("file", type=Path, help="a study's coherence.h5, or a monitor's .csv or .h5")
    show.add_argument("--layers", action="store_true", help="a row for every layer too")
    chosen = parser.parse_args(arguments)
    try:
        print(_table(chosen.file, chosen.layers))
    except UserError as error:
        print(f"mcoherence: {error}", file=sys.stderr)
        return 1
    return 0


def _table(path: Path, layers: bool) -> str:
    """The rows of a file, as they are printed."""
    from mcoherence.monitoring.reading import coherence_table  # pandas and h5py, which --help has no need of
    from mcoherence.tables.columns import WHOLE_NETWORK

    rows = coherence_table(path)
    if not layers:
        rows = rows[rows["layer"] == WHOLE_NETWORK].drop(columns="layer")
    columns = [column for column in _COLUMNS if column in rows]
    return rows[columns].to_string(index=False, float_format=lambda value: f"{value:.4g}")
