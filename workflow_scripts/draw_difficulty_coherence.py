"""Draw how the gradients of easy, hard and random examples agree, from the table difficulty_coherence."""

from mcoherence.figures.difficulty_coherence import difficulty_coherence
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["difficulty_coherence", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    figure = difficulty_coherence(read_table(arguments.difficulty_coherence), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
