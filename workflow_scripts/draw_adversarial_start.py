"""Draw accuracy after an adversarial start, from the table adversarial_start."""

from mcoherence.figures.adversarial_start import adversarial_start
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["adversarial_start", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    figure = adversarial_start(read_table(arguments.adversarial_start), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
