"""Draw m-coherence against the training loss, from the tables coherence and accuracy."""

from mcoherence.figures.coherence_by_loss import coherence_by_loss
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the tables, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["coherence", "accuracy", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    coherence, accuracy = read_table(arguments.coherence), read_table(arguments.accuracy)
    figure = coherence_by_loss(coherence, accuracy, style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
