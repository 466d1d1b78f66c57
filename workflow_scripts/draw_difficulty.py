"""Draw how hard examples are and how far seeds agree, from the tables difficulty and difficulty_agreement."""

from mcoherence.figures.difficulty import difficulty
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the tables, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["difficulty", "difficulty_agreement", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    figure = difficulty(read_table(arguments.difficulty), read_table(arguments.difficulty_agreement), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
