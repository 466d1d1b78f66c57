"""Draw one figure: the module that draws it, and the tables that it is drawn from -> PNG and PDF."""

from pathlib import Path

from mcoherence.figures.reading import image_stores
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.files.provenance import provenance
from mcoherence.files.tables import read_table
from workflow_scripts.command_line import function_of_module, settings_parser
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
    draw = function_of_module(arguments.module, "mcoherence.figures", "draw")
    style = FigureStyle(**arguments.settings)
    tables = {path.stem: read_table(path) for path in arguments.tables} | {"images": image_stores(arguments.images)}
    origin = provenance(arguments.settings, [*arguments.tables, *arguments.images], code=arguments.code)
    save_figure(draw(tables, style), arguments.png, arguments.pdf, style.dpi, origin)


if __name__ == "__main__":
    run(main)
