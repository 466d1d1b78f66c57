"""Draw the study at a glance, from the tables coherence and accuracy, and easy_hard where the study has it."""

from pathlib import Path

import pandas as pd

from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.summary import summary
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the tables, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["coherence", "accuracy", "png", "pdf"], options={"easy_hard": ""})
    style = FigureStyle.from_settings(arguments.settings)
    sources = [arguments.coherence, arguments.accuracy, *([Path(arguments.easy_hard)] if arguments.easy_hard else [])]
    coherence, accuracy, *further = map(read_table, sources)
    figure = summary(coherence, accuracy, further[0] if further else pd.DataFrame(), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi, sources)


if __name__ == "__main__":
    run(main)
