"""Calculate the bound on the generalisation gap along runs: tables coherence and accuracy -> CSV and Parquet."""

import pandas as pd

from mcoherence.files.tables import write_table
from mcoherence.tables.bound import bound_table
from workflow_scripts.command_line import parse
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read both tables, calculate, write."""
    arguments = parse(__doc__, paths=["coherence", "accuracy", "csv", "parquet"])
    coherence, accuracy = pd.read_parquet(arguments.coherence), pd.read_parquet(arguments.accuracy)
    write_table(bound_table(coherence, accuracy, **arguments.settings), arguments.csv, arguments.parquet)


if __name__ == "__main__":
    run(main)
