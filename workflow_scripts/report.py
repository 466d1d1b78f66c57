"""Check a study just before its report is written: figures, tables, claims, the page about it and its config."""

import argparse
from pathlib import Path

from mcoherence.audit.shown_checks import check_shown
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Stop at the first file that is not as the job that made it wrote it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--code", default="", help="digest of the code, of which `make why` asks")
    parser.add_argument("--figures", type=Path, nargs="*", required=True, help="PNG files")
    parser.add_argument("--claims", type=Path, required=True, help="claims.json")
    parser.add_argument("--study", type=Path, required=True, help="study.html")
    parser.add_argument("--config", type=Path, required=True, help="config.json")
    parser.add_argument("--dictionary", type=Path, required=True, help="dictionary.csv")
    parser.add_argument("--tables", type=Path, nargs="*", required=True, help="Parquet files")
    arguments = parser.parse_args()
    beside = [arguments.config, arguments.dictionary]
    check_shown(arguments.figures, arguments.tables, arguments.claims, arguments.study, beside)


if __name__ == "__main__":
    run(main)
