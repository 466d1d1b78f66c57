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


def row_title(axes: Axes, title: str) -> None:
    """Name a row of panels at the right edge of its last one."""
    axes.annotate(
        title,
        xy=(1, 0.5),
        xytext=(5, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        rotation=270,
        ha="left",
        va="center",
        multialignment="center",
        fontsize=TEXT_SIZE + 1,
        annotation_clip=False,
    )


def column_titles(grid: NDArray[Any], titles: Sequence[str], colors: Sequence[str] = ()) -> None:
    """Name the columns of panels at the top of the first row, on as many lines as a panel's width asks for.

    Args:
        grid: the axes, shape [rows, columns].
        titles: one per column.
        colors: of the titles; black by default.
    """
    letters = int(WIDTH / len(titles) / 0.085)  # inches per bold letter
    for axes, title, color in zip(grid[0], titles, colors or ["black"] * len(titles), strict=True):
        axes.set_title(textwrap.fill(title, letters), color=color, fontweight="bold")


def label_below(grid: NDArray[Any], label: str) -> None:
    """Name the horizontal axis under the lowest row of panels, of axes of shape [rows, columns]."""
    for axes in grid[-1]:
        axes.set_xlabel(label)
