"""Check a study just before its report is written: figures, tables, claims, the page about it and its config."""

import argparse

from mcoherence.audit.shown_checks import check_shown
from workflow_scripts.command_line import shown_options
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Stop at the first file that is not as the job that made it wrote it."""
    parser = argparse.ArgumentParser(description=__doc__, parents=[shown_options()])
    arguments = parser.parse_args()
    beside = [arguments.config, arguments.dictionary]
    check_shown(arguments.figures, arguments.tables, arguments.claims, arguments.study, beside)


if __name__ == "__main__":
    run(main)
