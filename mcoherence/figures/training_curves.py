"""Accuracy and loss on the training and the test set, for each model, label set and optimiser."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcoherence.figures.axes import log_axis, step_axis
from mcoherence.figures.combinations import name_combinations
from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import band_handle, legend_below, lost_handles
from mcoherence.figures.panels import (
    label_below,
    message_figure,
    network_title,
    panel_grid,
    row_label,
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

_MARKERS = {"train": "", "test": "o"}
_QUANTITIES = {"accuracy": "accuracy (%)", "loss": "loss"}


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Accuracy and loss against the step: two rows per model, a column per label set, a colour per optimiser.

    Plain lines are of the training set with the labels trained on, lines with circles of the test set with
    clean labels. Lines are means over seeds, geometric ones of the loss, bands their t intervals.
    Source: arXiv 2003.07422, accuracy and loss by optimiser and noise; arXiv 2002.10657, learning by noise.

    Args:
        tables: with the tidy table accuracy.
        style: the figures' shared settings.
    """
    table = tables["accuracy"]
    rows = full_set_runs(table)
    rows = rows[rows["part"].isin(list(_MARKERS))]
    if rows["accuracy"].isna().all():
        return message_figure(nothing_drawn(rows, "This study evaluated no runs on the full training set."))
    rows = rows.assign(accuracy=100 * rows["accuracy"], loss=rows["loss"].where(rows["accuracy"].notna()))
    all_networks, labels = networks(rows), label_sets(rows)
    optimizers = in_order(rows["optimizer"], [style.reference_optimizer])
    by = ["dataset", "model", "labels", "optimizer", "part", "step"]
    summaries = {
        quantity: over_seeds(rows, by, quantity, style.confidence, logarithmic=quantity == "loss")
        for quantity in _QUANTITIES
    }
    figure, grid = panel_grid(2 * len(all_networks), len(labels), row_height=1.7)
    for row, panels in enumerate(grid):
        network, quantity = all_networks[row // 2], list(_QUANTITIES)[row % 2]
        for name, axes in zip(labels, panels, strict=True):
            summary = summaries[quantity]
            panel = of_network(summary[summary["labels"] == name], network)
            _draw_panel(axes, panel, optimizers, style)
            if panel.empty:
                say_not_run(axes, why_empty(of_network(rows[rows["labels"] == name], network)))
            step_axis(axes, rows["step"].max(), len(labels))
        row_label(panels[0], _QUANTITIES[quantity])
        if quantity == "accuracy":  # the row shares its axis
            panels[0].set_ylim(-3, 103)  # where it ends; the caption says that bands of few seeds can be cut there
        else:
            log_axis(panels[0])
    label_below(grid, "training step")
    titles = [network_title(network, all_networks) for network in all_networks]
    name_combinations(grid, titles, [readable(name) for name in labels], stacked=2)
    drawn = set(summaries["accuracy"]["optimizer"])
    colors = [
        Line2D([], [], color=style.color(name), linewidth=2, label=readable(name))
        for name in optimizers
        if name in drawn
    ]
    parts = [
        Line2D([], [], color=NEUTRAL, marker=marker, markersize=3, markerfacecolor="white", label=part)
        for part, marker in _MARKERS.items()
    ]
    handles = [*colors, *parts, band_handle(style, list(summaries["accuracy"]["seeds"]))]
    legend_below(figure, [*handles, *lost_handles(runs_lost(rows))])
    return figure


def _draw_panel(axes: Axes, panel: pd.DataFrame, optimizers: list[str], style: FigureStyle) -> None:
    """The lines of one label set and quantity: every optimiser, on the training and the test set."""
    for optimizer in optimizers:
        for part, marker in _MARKERS.items():
            line = panel[(panel["optimizer"] == optimizer) & (panel["part"] == part)]
            if not line.empty:
                look, label = LineLook((0, ()), marker=marker), f"{optimizer} {part}"
                draw_line_with_band(axes, line["step"], line, style.color(optimizer), look, label)
