"""Draw when examples are learned on one half and forgotten on the other, from the table difficulty."""

from mcoherence.figures.saving import save_figure
from mcoherence.figures.second_split import second_split
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["difficulty", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    figure = second_split(read_table(arguments.difficulty), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
