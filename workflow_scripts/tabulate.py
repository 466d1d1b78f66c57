"""Gather the result files of many runs into one tidy table: *.h5 -> CSV and Parquet."""

from mcoherence.files.tables import write_table
from mcoherence.tables.difficulty import DIFFICULTY_TABLES
from mcoherence.tables.noise import NOISE_TABLES
from mcoherence.tables.runs import TABLES
from mcoherence.tables.sweep import SWEEP_TABLES
from workflow_scripts.command_line import parse
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Make the table that the settings name. The files of the runs are found by the runs' names, not by arguments.

    A study of a thousand runs has more paths than a command line can hold.
    """
    arguments = parse(__doc__, paths=["csv", "parquet"])
    settings = arguments.settings
    make = (TABLES | NOISE_TABLES | DIFFICULTY_TABLES | SWEEP_TABLES)[settings["table"]]
    table = make(settings["results"], settings["experiment"], settings["noise"])
    write_table(table, arguments.csv, arguments.parquet)


if __name__ == "__main__":
    run(main)
