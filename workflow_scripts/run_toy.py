"""Run the six-dimensional regressions, real and random, and write what they do as a tidy table: CSV and Parquet."""

from pathlib import Path

from mcoherence.files.tables import write_table
from mcoherence.tables.toy import toy_table
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Descend, measure, write."""
    parser = settings_parser(__doc__)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--parquet", type=Path, required=True)
    arguments = parser.parse_args()
    write_table(toy_table(**arguments.settings), arguments.csv, arguments.parquet)


if __name__ == "__main__":
    run(main)
