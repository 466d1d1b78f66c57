"""Draw coherence on samples of several sizes, from the table sample_size."""

from mcoherence.figures.sample_size import sample_size
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["sample_size", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    figure = sample_size(read_table(arguments.sample_size), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
