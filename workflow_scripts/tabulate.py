"""Make one tidy table from the result files of many runs, or from other tables: *.h5, Parquet -> CSV and Parquet."""

from pathlib import Path

from mcoherence.files.provenance import provenance
from mcoherence.files.tables import write_table
from mcoherence.study.runs import files_needed, runs_of_grids
from workflow_scripts.command_line import function_of_module, settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Make the table of a module, such as "mcoherence.tables.accuracy", which is imported by that name.

    Files are found by the names of runs and tables, not by arguments: a study of a thousand runs has more paths than
    a command line can hold.
    """
    parser = settings_parser(__doc__)
    parser.add_argument("--module", required=True, help="that makes the table; the command imports it by this name")
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--parquet", type=Path, required=True)
    arguments = parser.parse_args()
    settings = arguments.settings
    make = function_of_module(arguments.module, "mcoherence.tables", "table")
    table = make(settings["results"], runs_of_grids(settings["grids"]), settings["noise"], **settings["own"])
    needed = [(one["runs"], one["files"]) for one in (settings | {"runs": settings["grids"]}, *settings["further"])]
    read = map(Path, files_needed(settings["results"], needed, settings["tables"]))
    write_table(table, arguments.csv, arguments.parquet, provenance(settings, read, code=arguments.code))


if __name__ == "__main__":
    run(main)
