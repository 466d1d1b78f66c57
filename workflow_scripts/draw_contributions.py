"""Draw what pristine and corrupt examples contribute to the gradient, from the table contributions."""

from mcoherence.figures.contributions import contributions
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["contributions", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    figure = contributions(read_table(arguments.contributions), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
