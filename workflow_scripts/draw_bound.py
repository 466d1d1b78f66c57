"""Draw the bound on the generalisation gap beside the gap, from the table bound."""

from mcoherence.figures.bound import bound
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["bound", "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    save_figure(bound(read_table(arguments.bound), style), arguments.png, arguments.pdf, style.dpi)


if __name__ == "__main__":
    run(main)
