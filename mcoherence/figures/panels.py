"""Figures and grids of panels of the page's width, their titles, and panels with nothing to show."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mcoherence.figures.lettering import broken, inches
from mcoherence.figures.style import NEUTRAL, TEXT_SIZE, WIDTH, readable

LEAST_ROW = 1.05  # inches of a row of panels that can be read
BELOW = 0.8  # inches for the axis label and the legend
BETWEEN = 0.15  # inches between two rows
LETTER, BOLD_LETTER = 0.072, 0.085  # inches of a letter in a title
SHORTEST_LINE = 8  # letters
NARROW_LETTER = 0.062  # inches of a letter of a tick label
MARGINS = 0.9  # inches beside all panels of a row, for the labels of the vertical axes and the names of rows
TEXT_LINE = 0.14  # inches of a line of tick labels
APART = 0.05  # inches between the names of neighbours
FEWEST_LETTERS = 7  # of a category's name on a line; narrower ones stand upright
UPRIGHT_LINE = 32  # letters
NOT_RUN = "not run"  # the group id of a panel of a combination that the study has no runs of
NO_RUNS = "no such runs"


def network_title(network: tuple[str, str], all_networks: Sequence[tuple[str, str]]) -> str:
    """A model's readable name, with its data set where the figure shows more than one."""
    dataset, model = network
    several = len({name for name, _ in all_networks}) > 1
    return f"{readable(dataset)}, {readable(model)}" if several else readable(model)


def new_figure(height: float) -> Figure:
    """An empty figure of the page's text width and the given height in inches, on an Agg canvas."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panel_grid(
    rows: int, columns: int, row_height: float, sharey: bool | str = "row", sharex: bool | str = True
) -> tuple[Figure, NDArray[Any]]:
    """A figure with rows x columns panels.

    Its rows are `row_height` inches high, or less where the figure would be taller than wide; LEAST_ROW at least.

    Returns:
        The figure and its axes, an array of shape [rows, columns].
    """
    height = max(LEAST_ROW, min(row_height, (WIDTH - BELOW) / rows))
    figure = new_figure(rows * height + BELOW)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)  # type: ignore[arg-type]
    return figure, axes


def message_figure(message: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = new_figure(1.2)
    figure.text(0.5, 0.5, message, ha="center", va="center", fontsize=TEXT_SIZE + 1, color=NEUTRAL, wrap=True)
    return figure


def say_not_run(axes: Axes, reason: str = NO_RUNS) -> None:
    """Say in a panel why it has nothing to show; one of a combination that the study has no runs of is marked too."""
    text = textwrap.fill(reason, 18)
    text_box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # a guide would strike the words through
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=NEUTRAL, bbox=text_box)
    if reason == NO_RUNS:
        axes.set_gid(NOT_RUN)


def row_label(axes: Axes, label: str) -> None:
    """Name the vertical axis, on as many lines as the row's height asks for; a longer one runs into the next row's."""
    axes.set_ylabel(broken(label, _letters_along(axes), LETTER))


def _letters_along(axes: Axes) -> int:
    """How many letters of text that stands upright are as long as a panel's row is high."""
    spec, figure = axes.get_subplotspec(), axes.get_figure(root=True)
    assert spec is not None, "a panel of a grid"
    assert figure is not None, "a panel of a grid"
    height = (figure.get_figheight() - BELOW) / spec.get_gridspec().nrows - BETWEEN
    return max(int(height / LETTER), SHORTEST_LINE)


def row_title(axes: Axes, title: str) -> None:
    """Name a row of panels at the right edge of its last one, on as many lines as the row's height asks for.

    A title longer than its row is high would push the rows apart, until nothing is left of the panels.
    """
    axes.annotate(
        broken(title, _letters_along(axes), LETTER),
        xy=(1, 0.5),
        xytext=(5, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        rotation=270,
        ha="left",
        va="center",
        multialignment="center",
        fontsize=TEXT_SIZE,
        annotation_clip=False,
    )


def column_titles(grid: NDArray[Any], titles: Sequence[str], colors: Sequence[str] = ()) -> None:
    """Name the columns of panels at the top of the first row, on as many lines as a panel's width asks for.

    Args:
        grid: the axes, shape [rows, columns].
        titles: one per column.
        colors: of the titles; black by default.
    """
    letters = letters_across(len(titles), BOLD_LETTER)
    for axes, title, color in zip(grid[0], titles, colors or ["black"] * len(titles), strict=True):
        axes.set_title(broken(title, letters, BOLD_LETTER, TEXT_SIZE + 1, bold=True), color=color, fontweight="bold")


def letters_across(columns: int, letter: float = LETTER) -> int:
    """How many letters, of so many inches each, fit over a panel, of so many that share the page's width."""
    return max(int((WIDTH - MARGINS / 2) / columns / letter), 1)


def panel_title(axes: Axes, title: str, columns: int) -> None:
    """Name one panel, of so many that share the page's width, on as many lines as it takes; a dollar sign is one."""
    axes.set_title(broken(title, letters_across(columns), LETTER, TEXT_SIZE + 1), parse_math=False)


def category_labels(axes: Axes, names: Sequence[str], columns: int, size: float = TEXT_SIZE) -> float:
    """Name the categories 0, 1, ... along a panel: side by side on several lines, upright where they are narrow.

    Args:
        axes: the panel.
        names: of the categories.
        columns: how many panels share the page's width.
        size: of the names, in points.

    Returns:
        How many inches more than two lines the names need below the panel.
    """
    letter, width = NARROW_LETTER * size / TEXT_SIZE, (WIDTH - MARGINS) / columns / len(names) - APART
    words = [word for name in names for word in name.split()]
    letters = max(int(width / letter), *map(len, words))  # words stay whole
    upright = int(width / letter) < FEWEST_LETTERS or max(inches(word, size) for word in words) > width
    texts = [broken(name, UPRIGHT_LINE if upright else letters, letter, size) for name in names]
    axes.set_xticks(range(len(names)), texts, rotation=90 if upright else 0)
    lines = [line for text in texts for line in text.split("\n")]
    needed = max(map(len, lines)) * letter if upright else (1 + max(text.count("\n") for text in texts)) * TEXT_LINE
    return max(needed - 2 * TEXT_LINE, 0.0)


def most_ticks(columns: int) -> int:
    """How many labels of steps have room below a panel, of so many that share the page's width; 3 at least."""
    return max(int((WIDTH - MARGINS) / columns / 0.38), 3)  # inches of a label


def label_below(grid: NDArray[Any], label: str) -> None:
    """Name the horizontal axis under the lowest row of panels, of axes of shape [rows, columns]."""
    for axes in grid[-1]:
        axes.set_xlabel(label)
