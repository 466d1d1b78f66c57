"""Write what follows from tables in the code into the config's schema and the documentation: `make schema`."""

import json
from pathlib import Path

from mcoherence.claims import claim_reference
from mcoherence.claims.registry import claims_of
from mcoherence.study import config_reference
from mcoherence.study.config_files import read_config
from mcoherence.study.schema import rewritten_page, rewritten_schema
from mcoherence.tables import column_reference
from workflow_scripts.jobs.entry import run

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "schemas/config.schema.json"


def rewritten_reference(text: str) -> str:
    """The page with every key of the config, as the schema is now, with examples of the configs that are here."""
    studies = sorted((ROOT / "studies").glob("*.yaml"))
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return config_reference.page_of_keys(text, schema, read_config(ROOT / "config.yaml"), map(read_config, studies))


def rewritten_claims(text: str) -> str:
    """The page with every claim that is registered."""
    return claim_reference.page_of_claims(text, claims_of("mcoherence.claims"))


# File -> what its text is rewritten by, the schema before the page that follows from it.
GENERATED = {
    SCHEMA: rewritten_schema,
    ROOT / "docs/studies.md": rewritten_page,
    ROOT / "docs/optimisers.md": rewritten_page,
    ROOT / "docs/configuration.md": rewritten_reference,
    ROOT / "docs/columns.md": column_reference.page_of_columns,
    ROOT / "docs/claims.md": rewritten_claims,
}


def main() -> None:
    """Rewrite each file where it is out of date, and say which."""
    for path, rewritten in GENERATED.items():
        text = path.read_text(encoding="utf-8")
        if rewritten(text) != text:
            path.write_text(rewritten(text), encoding="utf-8")
            print(f"{path.relative_to(ROOT)}: written")


if __name__ == "__main__":
    run(main)
