"""Draw the best against the last checkpoint, from the table early_stopping."""

from mcoherence.figures.early_stopping import early_stopping
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["early_stopping", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    figure = early_stopping(read_table(arguments.early_stopping), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
