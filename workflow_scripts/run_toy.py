"""Run the six-dimensional regressions, real and random, and write what they do as a tidy table: CSV and Parquet."""

from mcoherence.files.tables import write_table
from mcoherence.tables.toy import toy_table
from workflow_scripts.command_line import parse
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Descend, measure, write."""
    arguments = parse(__doc__, paths=["csv", "parquet"])
    write_table(toy_table(**arguments.settings), arguments.csv, arguments.parquet)


if __name__ == "__main__":
    run(main)
