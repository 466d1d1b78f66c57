"""Check a study just before its report is written, and write what the report opens on.

Checked are figures, tables, claims, the page about the study and its config.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcoherence.audit.shown_checks import check_shown
from mcoherence.figures.style import readable
from mcoherence.files.atomic import write_text
from mcoherence.front_page.wording import headline_of
from mcoherence.study.catalogue import all_runs
from workflow_scripts.command_line import shown_options
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Stop at the first file that is not as the job that made it wrote it."""
    parser = argparse.ArgumentParser(description=__doc__, parents=[shown_options()])
    parser.add_argument("--first-screen", type=Path, required=True, help="JSON file of what the report opens on")
    arguments = parser.parse_args()
    beside = [arguments.config, arguments.dictionary]
    check_shown(arguments.figures, arguments.tables, arguments.claims, arguments.study, beside)
    config, claims = (json.loads(path.read_text(encoding="utf-8")) for path in (arguments.config, arguments.claims))
    write_text(arguments.first_screen, json.dumps(first_screen(config, claims)))


def first_screen(config: Mapping[str, Any], claims: Mapping[str, Any]) -> dict[str, str]:
    """What the report opens on, heading -> reStructuredText: what was studied, and what was found."""
    return {
        "Found": headline_of(claims["claims"]),
        "Look first": "at `index.html <index.html>`_ beside this file: claims, curves to choose from, all figures.",
        "Study": readable(config["study"]),
        **{
            heading: ", ".join(dict.fromkeys(readable(getattr(run, what)) for run in all_runs(config)))
            for heading, what in (("Data", "dataset"), ("Networks", "model"), ("Optimisers", "optimizer"))
        },
    }


if __name__ == "__main__":
    run(main)
