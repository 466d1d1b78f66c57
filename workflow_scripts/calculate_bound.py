"""Calculate the bound on the generalisation gap along runs: tables coherence and accuracy -> CSV and Parquet."""

from pathlib import Path

import pandas as pd

from mcoherence.files.tables import write_table
from mcoherence.tables.bound import bound_table
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read both tables, calculate, write."""
    parser = settings_parser(__doc__)
    parser.add_argument("--coherence", type=Path, required=True)
    parser.add_argument("--accuracy", type=Path, required=True)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--parquet", type=Path, required=True)
    arguments = parser.parse_args()
    coherence, accuracy = pd.read_parquet(arguments.coherence), pd.read_parquet(arguments.accuracy)
    write_table(bound_table(coherence, accuracy, **arguments.settings), arguments.csv, arguments.parquet)


if __name__ == "__main__":
    run(main)
