"""Check the papers' claims: tables -> claims.json and a table for the report."""

from pathlib import Path

from mcoherence.claims.page import write_claims
from mcoherence.claims.registry import claims_of
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.testing import check_claims
from mcoherence.files.provenance import provenance
from mcoherence.files.tables import read_table
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Test every claim of a folder's modules on the tables and write both forms of the outcome."""
    parser = settings_parser(__doc__)
    parser.add_argument("--package", required=True, help="whose modules hold the claims")
    parser.add_argument("--tables", type=Path, nargs="*", required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--html", type=Path, required=True)
    arguments = parser.parse_args()
    tables = {path.stem: read_table(path) for path in arguments.tables}
    settings = ClaimSettings(**arguments.settings)
    claims = check_claims(tables, settings, claims_of(arguments.package))
    origin = provenance(arguments.settings, arguments.tables, code=arguments.code)
    write_claims(arguments.json, arguments.html, claims, settings, origin)
    for claim in claims:
        print(f"{claim.id}: {claim.verdict}")


if __name__ == "__main__":
    run(main)
