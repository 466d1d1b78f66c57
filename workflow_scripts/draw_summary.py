"""Draw the study at a glance, from the tables coherence and accuracy, and easy_hard where the study has it."""

from pathlib import Path

import pandas as pd

from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.summary import summary
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the tables, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["coherence", "accuracy", "png", "pdf"], options={"easy_hard": ""})
    style = FigureStyle.from_settings(arguments.settings)
    coherence, accuracy = read_table(arguments.coherence), read_table(arguments.accuracy)
    easy_hard = read_table(Path(arguments.easy_hard)) if arguments.easy_hard else pd.DataFrame()
    figure = summary(coherence, accuracy, easy_hard, style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
