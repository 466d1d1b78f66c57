"""The grid that figures of whole-network coherence share: rows networks, columns optimisers, lines label sets."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mcoherence.figures.axes import log_axis, orthogonal_limit
from mcoherence.figures.combinations import name_combinations
from mcoherence.figures.intervals import draw_line_with_band, draw_null_band, not_positive
from mcoherence.figures.legends import coherence_handles, legend_below, lost_handles, null_handle
from mcoherence.figures.panels import network_title, panel_grid, row_label, say_not_run
from mcoherence.figures.reading import in_order, networks, of_network, runs_lost, why_empty
from mcoherence.figures.style import FigureStyle, LineLook, readable


def draw_panels(
    rows: pd.DataFrame,
    summary: pd.DataFrame,
    x: str,
    style: FigureStyle,
    label_looks: Mapping[str, LineLook],
    null: pd.DataFrame | None = None,
) -> tuple[Figure, NDArray[Any]]:
    """The figure without names and legend, and its axes [networks, optimisers]; the caller sets the horizontal axes.

    Args:
        rows: the observations, one per run and checkpoint, missing ones too, whose order decides that of the panels.
        summary: their means and intervals over seeds, one row per network, optimiser, label set and checkpoint.
        x: the column of `summary` on the horizontal axis.
        style: the figures' shared settings.
        label_looks: the look of each label set's line, by its name.
        null: the same of redrawn labels, with the interval of single runs; drawn grey behind the lines.
    """
    all_networks, optimizers = networks(rows), in_order(rows["optimizer"], [style.reference_optimizer])
    figure, grid = panel_grid(len(all_networks), len(optimizers), row_height=1.9)
    for network, panels in zip(all_networks, grid, strict=True):
        for optimizer, axes in zip(optimizers, panels, strict=True):
            panel = of_network(summary[summary["optimizer"] == optimizer], network)
            if null is not None:
                draw_null_bands(axes, of_network(null[null["optimizer"] == optimizer], network), x, label_looks)
            orthogonal_limit(axes)
            observed = of_network(rows[rows["optimizer"] == optimizer], network)
            draw_lines(axes, panel, x, style.color(optimizer), label_looks, observed)
        row_label(panels[0], "m-coherence")
        for axes in panels:  # after all have drawn, because they share the axis
            log_axis(axes)
    return figure, grid


def name_panels(grid: NDArray[Any], rows: pd.DataFrame, style: FigureStyle) -> None:
    """Name what `draw_panels` drew of the same `rows`, once the horizontal axes are set."""
    all_networks, optimizers = networks(rows), in_order(rows["optimizer"], [style.reference_optimizer])
    titles = [network_title(network, all_networks) for network in all_networks]
    colors = [style.color(name) for name in optimizers]
    name_combinations(grid, titles, [readable(name) for name in optimizers], colors)


def add_legend(
    figure: Figure,
    rows: pd.DataFrame,
    summary: pd.DataFrame,
    style: FigureStyle,
    label_looks: Mapping[str, LineLook],
    null: pd.DataFrame,
) -> None:
    """The legend below the panels: the label sets drawn, the limit, the bands, and what a log axis leaves out.

    `null` is what `draw_panels` was given; empty where nothing was.
    """
    shown = {name: look for name, look in label_looks.items() if (summary["labels"] == name).any()}
    handles = coherence_handles(style, shown, list(summary["seeds"]), not_positive(rows["m_coherence"]))
    of_null = [null_handle(style, list(null["seeds"]))] if len(null) else []
    legend_below(figure, [*handles, *of_null, *lost_handles(runs_lost(rows))])


def draw_null_bands(axes: Axes, null: pd.DataFrame, x: str, label_looks: Mapping[str, LineLook]) -> None:
    """Where single runs with redrawn labels would lie, of one network and optimiser: a grey band a label set."""
    for labels, look in label_looks.items():
        line = null[null["labels"] == labels].sort_values("step")
        if not line.empty:
            draw_null_band(axes, line[x], line, look, labels)


def draw_lines(
    axes: Axes, panel: pd.DataFrame, x: str, color: str, label_looks: Mapping[str, LineLook], rows: pd.DataFrame
) -> None:
    """The means of one network and optimiser with their bands, a line a label set; words where there are none.

    `rows` are the observations that the means are of, missing ones too: they say why there are none.
    """
    for labels, look in label_looks.items():
        line = panel[panel["labels"] == labels].sort_values("step")
        if not line.empty:
            draw_line_with_band(axes, line[x], line, color, look, labels)
    if panel.empty:
        say_not_run(axes, why_empty(rows))
