"""Draw how pristine, corrupt and held-out examples lie to each other, from the table group_alignment."""

from mcoherence.figures.group_alignment import group_alignment
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["group_alignment", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    figure = group_alignment(read_table(arguments.group_alignment), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
