"""Draw overfitting against the clipping of winsorised SGD, from the table overfit."""

from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from mcoherence.figures.winsorization import winsorization
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["overfit", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    figure = winsorization(read_table(arguments.overfit), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
