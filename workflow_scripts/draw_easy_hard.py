"""Draw the accuracy of networks trained on easy and hard examples, from the table easy_hard."""

from mcoherence.figures.easy_hard import easy_hard
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["easy_hard", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    figure = easy_hard(read_table(arguments.easy_hard), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
