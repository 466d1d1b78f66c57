"""Draw accuracies and gap of every optimiser, from the table accuracy."""

from mcoherence.figures.optimizers import optimizers
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["accuracy", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    figure = optimizers(read_table(arguments.accuracy), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
