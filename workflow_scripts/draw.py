"""Draw one figure: the module that draws it, and the tables that it is drawn from -> PNG and PDF."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from matplotlib.figure import Figure

from mcoherence import figures
from mcoherence.errors import UserError
from mcoherence.figures.reading import Tables, image_stores, read_table
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the tables, draw, save; both files say what they were drawn from."""
    parser = settings_parser(__doc__)
    parser.add_argument("--module", required=True, help="that draws the figure; the command imports it by this name")
    parser.add_argument("--tables", type=Path, nargs="*", required=True)
    parser.add_argument("--images", type=Path, nargs="*", required=True, help="stores whose pictures the figure shows")
    parser.add_argument("--png", type=Path, required=True)
    parser.add_argument("--pdf", type=Path, required=True)
    arguments = parser.parse_args()
    draw, style = draw_of(arguments.module), FigureStyle(**arguments.settings)
    tables = {path.stem: read_table(path) for path in arguments.tables} | {"images": image_stores(arguments.images)}
    sources = [*arguments.tables, *arguments.images]
    save_figure(draw(tables, style), arguments.png, arguments.pdf, style.dpi, sources)


def draw_of(module: str) -> Callable[[Tables, FigureStyle], Figure]:
    """The function `draw` of a figure's module, such as "mcoherence.figures.summary".

    It is imported by its name, so that an edit of one figure's module draws that figure again and no other.

    Raises:
        UserError: no figure has a module of this name.
    """
    room = [f"{figures.__name__}.{found.name}" for found in iter_modules(figures.__path__)]
    found = import_module(module) if module in room else None
    draw: Callable[[Tables, FigureStyle], Figure] | None = getattr(found, "draw", None)
    if draw is None:
        expected = f"{figures.__name__}.NAME, a module with a function draw, such as {figures.__name__}.summary"
        raise UserError(f"--module {module}: no such figure; expected {expected}")
    return draw


if __name__ == "__main__":
    run(main)
