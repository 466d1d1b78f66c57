"""Draw the exploratory sweeps over a setting of a network, from the table sweep."""

from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.sweep import sweep
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["sweep", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    figure = sweep(read_table(arguments.sweep), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
