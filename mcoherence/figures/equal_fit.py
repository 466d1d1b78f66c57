"""Memorisation at equal fit: accuracy on corrupt and on test examples against accuracy on pristine ones."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import band_handle, legend_below, lost_handles
from mcoherence.figures.panels import (
    column_titles,
    label_below,
    message_figure,
    panel_grid,
    row_label,
    row_title,
    say_not_run,
)
from mcoherence.figures.reading import (
    Tables,
    full_set_runs,
    in_order,
    label_sets,
    networks,
    nothing_drawn,
    of_network,
    runs_lost,
    why_empty,
)
from mcoherence.figures.style import NEUTRAL, FigureStyle, LineLook, readable, theme

QUANTITIES = {"corrupt_accuracy": "accuracy on corrupt examples (%)", "test_accuracy": "test accuracy (%)"}


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """A row per network and label set: accuracy on corrupt examples, and on test images, against that on pristine ones.

    A curve per optimiser, a point where its runs first reach a level on pristine examples: the mean over seeds, with
    its t interval, as far as all of the optimiser's seeds come. On the dotted diagonal corrupt labels would be fitted
    as fast as pristine ones. Source: this project's statement E12.

    Args:
        tables: with the tidy table equal_fit.
        style: the figures' shared settings.
    """
    table = full_set_runs(tables["equal_fit"])
    rows = table[~table["diverged"].astype(bool)]
    if rows.empty:
        return message_figure(nothing_drawn(table, "This study has no runs with labels that are random in part."))
    rows = reached_by_all(rows)
    values = {name: 100 * rows[name].astype(float) for name in ("pristine_accuracy", *QUANTITIES)}
    rows, optimizers = rows.assign(**values), in_order(table["optimizer"], [style.reference_optimizer])
    row_keys = [(network, labels) for network in networks(table) for labels in label_sets(of_network(table, network))]
    seeds: list[int] = []
    figure, grid = panel_grid(len(row_keys), len(QUANTITIES), row_height=2.4, sharey=False)
    for (network, labels), panels in zip(row_keys, grid, strict=True):
        panel = of_network(rows, network)
        panel = panel[panel["labels"] == labels]
        for axes, (quantity, title) in zip(panels, QUANTITIES.items(), strict=True):
            seeds += _draw_panel(axes, panel, quantity, optimizers, style)
            row_label(axes, title)
            if panel.empty:
                observed = of_network(table, network)
                say_not_run(axes, why_empty(observed[observed["labels"] == labels]))
        panels[0].plot([0, 100], [0, 100], color=NEUTRAL, linestyle=":", linewidth=0.8, label="as fast as pristine")
        dataset, model = network
        row_title(panels[-1], f"{readable(dataset)}, {readable(model)}\n{readable(labels)}")
    column_titles(grid, ["corrupt examples", "test images"])
    label_below(grid, "accuracy on pristine examples (%)")
    shown = [name for name in optimizers if (rows["optimizer"] == name).any()]
    colors = [Line2D([], [], color=style.color(name), label=readable(name)) for name in shown]
    diagonal = Line2D([], [], color=NEUTRAL, linestyle=":", linewidth=0.8, label="as fast as pristine examples")
    lost = lost_handles(runs_lost(table), shown_until=False)
    legend_below(figure, [*colors, diagonal, band_handle(style, seeds), *lost])
    return figure


def reached_by_all(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the levels that all seeds of an optimiser reach: a mean over fewer would be of the fastest alone."""
    keys = ["dataset", "model", "labels", "optimizer", "pristine_accuracy"]
    return rows[rows.groupby(keys, observed=True)["reached"].transform("all").astype(bool)]


def _draw_panel(axes: Axes, panel: pd.DataFrame, quantity: str, optimizers: list[str], style: FigureStyle) -> list[int]:
    """A curve with its band for each optimiser; how many seeds each mean is of."""
    summary = over_seeds(panel, ["optimizer", "pristine_accuracy"], quantity, style.confidence)
    for name in optimizers:
        line = summary[summary["optimizer"] == name]
        if not line.empty:
            draw_line_with_band(axes, line["pristine_accuracy"], line, style.color(name), LineLook((0, ())), name)
    axes.set_xlim(-3, 103)
    axes.set_ylim(-3, 103)
    return list(summary["seeds"])
