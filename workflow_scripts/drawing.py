"""What the commands that draw share: tables in, a figure out as PNG and PDF, which say what they were drawn from."""

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse


def draw(description: str | None, names: Sequence[str], make: Callable[..., Figure]) -> None:
    """Read tables, draw, and save.

    Args:
        description: shown by --help.
        names: of the tables, each an option of the command.
        make: (the tables in this order, style) -> the figure.
    """
    arguments = parse(description, paths=[*names, "png", "pdf"])
    style = FigureStyle.from_settings(arguments.settings)
    sources = [getattr(arguments, name) for name in names]
    figure = make(*(read_table(source) for source in sources), style)
    save_figure(figure, arguments.png, arguments.pdf, style.dpi, sources)
