"""Draw m-coherence against the training step, from the table coherence."""

from mcoherence.figures.coherence_by_step import coherence_by_step
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["coherence", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    figure = coherence_by_step(read_table(arguments.coherence), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
