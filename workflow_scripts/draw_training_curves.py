"""Draw accuracy and loss against the training step, from the table accuracy."""

from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from mcoherence.figures.training_curves import training_curves
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["accuracy", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    figure = training_curves(read_table(arguments.accuracy), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
