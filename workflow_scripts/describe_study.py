"""Describe a study: settings, versions, run times and tables as one page for the report, and its resolved config.

The settings and the code are those that the result files say they were made by; where they are not those of the config
and of the present, there is no page, and so no report.
"""

from pathlib import Path

from mcoherence.audit.page import run_times, study_page
from mcoherence.audit.result_checks import check_results, present_code
from mcoherence.claims.stored import read_claims
from mcoherence.data.store import read_origin
from mcoherence.files.atomic import atomic_path
from mcoherence.files.json_csv import write_json
from mcoherence.files.page import write_page
from mcoherence.files.pictures import check_picture
from mcoherence.files.provenance import Provenance, provenance
from mcoherence.files.tables import check_table, column_names
from mcoherence.tables.dictionary import dictionary
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Gather what the files and the records of jobs say and write it down."""
    parser = settings_parser(__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of the study")
    parser.add_argument("--claims", type=Path, required=True, help="claims.json")
    parser.add_argument("--images", type=Path, nargs="*", required=True, help="images.h5 of every data set")
    parser.add_argument("--tables", type=Path, nargs="*", required=True)
    parser.add_argument("--figures", type=Path, nargs="*", required=True)
    parser.add_argument("--html", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--dictionary", type=Path, required=True)
    arguments = parser.parse_args()
    config = arguments.settings["config"]
    found = read_claims(arguments.claims, arguments.claims.with_suffix(".html"))
    claims = Provenance.from_attributes(found["provenance"])
    for table in arguments.tables:
        check_table(table)
    for figure in arguments.figures:
        check_picture(figure, figure.with_suffix(".pdf"))
    findings = check_results(config, arguments.results, present_code(Path(__file__).parents[1]))
    made_from = [arguments.claims, *arguments.tables, *arguments.figures, *arguments.images]
    origin = provenance(arguments.settings, made_from, code=arguments.code)
    write_json(arguments.config, config)
    columns = dictionary((path.stem, column_names(path)) for path in arguments.tables)
    with atomic_path(arguments.dictionary) as temporary:
        columns.to_csv(temporary, index=False, lineterminator="\n")
    data = {path.parent.name: read_origin(path) for path in arguments.images}
    page = study_page(config, findings, claims, run_times(arguments.results), columns, data, origin)
    write_page(arguments.html, page, [arguments.config, arguments.dictionary])


if __name__ == "__main__":
    run(main)
