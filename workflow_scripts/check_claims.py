"""Check the papers' claims: tables -> claims.json and a table for the report."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from mcoherence.claims.identities import IDENTITIES
from mcoherence.claims.page import as_json, claims_page
from mcoherence.claims.registry import claims_of
from mcoherence.claims.testing import ClaimSettings, check_claims
from mcoherence.files.atomic import write_text
from mcoherence.files.json_csv import write_json
from mcoherence.files.provenance import provenance
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
    tables = {path.stem: pd.read_parquet(path) for path in arguments.tables}
    claims = check_claims(tables, ClaimSettings(**arguments.settings), claims_of(arguments.package))
    origin = provenance(arguments.settings, arguments.tables, code=arguments.code)
    content = {
        "schema": "mcoherence/claims/2",
        "claims": [as_json(claim) for claim in claims],
        "identities": [{**asdict(identity), "level": "I"} for identity in IDENTITIES],
        "provenance": origin.as_attributes(),
    }
    write_json(arguments.json, content)
    write_text(arguments.html, claims_page(claims, arguments.settings["confidence"]))
    for claim in claims:
        print(f"{claim.id}: {claim.verdict}")


if __name__ == "__main__":
    run(main)
