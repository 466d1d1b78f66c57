"""Figures and grids of panels of the page's width, their titles, and panels with nothing to show."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mcoherence.figures.style import NEUTRAL, TEXT_SIZE, WIDTH, readable

LEAST_ROW = 1.05  # inches of a row of panels that can be read
BELOW = 0.8  # inches for the axis label and the legend
BETWEEN = 0.15  # inches between two rows
LETTER, BOLD_LETTER = 0.072, 0.085  # inches of a letter in a title
SHORTEST_LINE = 8  # letters
NOT_RUN = "not run"  # the group id of a panel with nothing to show


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


def say_not_run(axes: Axes, reason: str = "no such runs") -> None:
    """Mark a panel that has nothing to show, such as a combination that the study has no runs of."""
    axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", color=NEUTRAL)
    axes.set_gid(NOT_RUN)


def row_title(axes: Axes, title: str) -> None:
    """Name a row of panels at the right edge of its last one, on as many lines as the row's height asks for.

    A title longer than its row is high would push the rows apart, until nothing is left of the panels.
    """
    spec, figure = axes.get_subplotspec(), axes.get_figure(root=True)
    assert spec is not None, "a panel of a grid"
    assert figure is not None, "a panel of a grid"
    height = (figure.get_figheight() - BELOW) / spec.get_gridspec().nrows - BETWEEN
    letters = max(int(height / LETTER), SHORTEST_LINE)
    axes.annotate(
        "\n".join(textwrap.fill(line, letters) for line in title.split("\n")),
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
    letters = int(WIDTH / len(titles) / BOLD_LETTER)
    for axes, title, color in zip(grid[0], titles, colors or ["black"] * len(titles), strict=True):
        axes.set_title(textwrap.fill(title, letters), color=color, fontweight="bold")


def most_ticks(columns: int) -> int:
    """How many labels of steps have room below a panel, of so many that share the page's width; 3 at least."""
    return max(int((WIDTH - 0.9) / columns / 0.38), 3)  # inches for the margins, for a label


def label_below(grid: NDArray[Any], label: str) -> None:
    """Name the horizontal axis under the lowest row of panels, of axes of shape [rows, columns]."""
    for axes in grid[-1]:
        axes.set_xlabel(label)
