"""Write what follows from tables in the code into the config's schema and the documentation: `make schema`."""

from pathlib import Path

from mcoherence.study.schema import rewritten_page, rewritten_schema
from workflow_scripts.jobs.entry import run

ROOT = Path(__file__).parents[1]
# File -> what its text is rewritten by.
GENERATED = {
    ROOT / "schemas/config.schema.json": rewritten_schema,
    ROOT / "docs/studies.md": rewritten_page,
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
