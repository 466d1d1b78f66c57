"""Draw the six-dimensional regressions, real and random, from the table toy."""

from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from mcoherence.figures.toy_regression import toy_regression
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["toy", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    save_figure(toy_regression(read_table(arguments.toy)), arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
