"""Draw the easiest and the hardest examples, from the table difficulty and the images themselves."""

from mcoherence.figures.examples import examples, pictures
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.figures.tables import read_table
from workflow_scripts.command_line import parse
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table and the images that it ranks first and last, draw, save as PNG and PDF."""
    arguments = parse(__doc__, paths=["difficulty", "png", "pdf"], path_lists=["images"])
    style = FigureStyle.from_settings(arguments.settings)
    stores = {path.parent.name: path for path in arguments.images}
    figure = examples(pictures(read_table(arguments.difficulty), stores))
    save_figure(figure, arguments.png, arguments.pdf, style.dpi, [arguments.difficulty, *arguments.images])


if __name__ == "__main__":
    run(main)
