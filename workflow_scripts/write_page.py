"""Write the page that tells a study: its figures, tables and claims -> index.html, which stands alone."""

import argparse
import datetime
import json
from pathlib import Path

from mcoherence.audit.shown_checks import check_shown
from mcoherence.claims.stored import read_claims
from mcoherence.figures.style import FigureStyle
from mcoherence.files.page import write_page
from mcoherence.files.tables import read_table
from mcoherence.front_page.page import DrawnFigure, page_of_study
from mcoherence.study.catalogue import figures_of, optimizers_of_study, tables_of_figure
from mcoherence.study.colors import figure_settings
from workflow_scripts.command_line import shown_options
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Check what the page will show, then write it."""
    parser = argparse.ArgumentParser(description=__doc__, parents=[shown_options()])
    parser.add_argument("--captions", type=Path, required=True, help="folder of the figures' captions")
    parser.add_argument("--html", type=Path, required=True)
    arguments = parser.parse_args()
    beside = [arguments.config, arguments.dictionary]
    check_shown(arguments.figures, arguments.tables, arguments.claims, arguments.study, beside)
    config = json.loads(arguments.config.read_text(encoding="utf-8"))
    claims = read_claims(arguments.claims, arguments.claims.with_suffix(".html"))
    pictures = {path.stem: path for path in arguments.figures}
    figures = [
        DrawnFigure(
            name,
            entry.section,
            entry.title,
            pictures[name],
            (arguments.captions / f"{name}.rst").read_text(encoding="utf-8"),
            tables_of_figure(config, entry),
        )
        for name, entry in figures_of(config).items()
    ]
    style = FigureStyle(**figure_settings(config, optimizers_of_study(config)))
    tables = {path.stem: read_table(path) for path in arguments.tables}
    commit, _, changes = claims["provenance"]["git_commit"].partition("+")
    by = commit[:9] + ("+changes" if changes else "")
    made = f"{datetime.datetime.now(tz=datetime.UTC):%-d %B %Y}, commit {by}"
    write_page(
        arguments.html,
        page_of_study(config, style, claims, tables, figures, made),
        [arguments.config, arguments.claims],
    )


if __name__ == "__main__":
    run(main)
