"""Gather the result files of many runs into one tidy table: *.h5 -> CSV and Parquet."""

import importlib

from mcoherence.files.tables import write_table
from mcoherence.study.runs import runs_of_grids
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Make the table of a module, such as "mcoherence.tables.accuracy", which is imported by that name.

    The files of the runs are found by the runs' names, not by arguments: a study of a thousand runs has more paths than
    a command line can hold.
    """
    arguments = parse(__doc__, words=["module"], paths=["csv", "parquet"])
    settings = arguments.settings
    make = importlib.import_module(arguments.module).table
    table = make(settings["results"], runs_of_grids(settings["grids"]), settings["noise"], **settings["own"])
    write_table(table, arguments.csv, arguments.parquet)


if __name__ == "__main__":
    run(main)
