"""Accuracy on pristine, corrupt and test examples and the gap, for every optimiser at every noise level."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcoherence.figures.axes import step_axis
from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import band_handle, legend_below
from mcoherence.figures.panels import column_titles, message_figure, network_title, panel_grid, row_title, say_not_run
from mcoherence.figures.reading import Tables, full_set_runs, in_order, label_sets, networks, of_network
from mcoherence.figures.style import NEUTRAL, FigureStyle, LineLook, readable, theme

QUANTITIES = {
    "pristine": "pristine\naccuracy (%)",
    "corrupt": "corrupt\naccuracy (%)",
    "test": "test\naccuracy (%)",
    "gap": "train − test\n(points)",
}
AXES = {"step": "training step", "examples": "training examples seen"}
_KEYS = ["dataset", "model", "labels", "noise", "optimizer", "seed", "step", "examples"]


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Four rows per network, a column per label set, a colour per optimiser, against the step.

    Where optimisers take different numbers of examples per update, four more rows against the examples seen: upper
    panels then compare at equal updates, lower ones at equal examples. Lines are means over seeds, bands their t
    intervals.
    Source: arXiv 2003.07422, SGD, M3 and RM3 under label noise; its control RA3.

    Args:
        tables: with the tidy table accuracy.
        style: the figures' shared settings.
    """
    rows = full_set_runs(tables["accuracy"])
    rows = rows[rows["part"].isin(["train", *QUANTITIES])]
    if rows["accuracy"].isna().all():
        return message_figure("This study evaluated no runs on the full training set.")
    values = with_gap(rows)
    all_networks, labels = networks(values), label_sets(values)
    names = in_order(values["optimizer"], [style.reference_optimizer])
    by = ["dataset", "model", "labels", "optimizer", "step", "examples"]
    summaries = {quantity: over_seeds(values, by, quantity, style.confidence) for quantity in QUANTITIES}
    row_keys = [(network, x) for network in all_networks for x in horizontal_axes(of_network(values, network))]
    figure, grid = panel_grid(len(QUANTITIES) * len(row_keys), len(labels), row_height=1.35, sharex=False)
    for row, panels in enumerate(grid):
        (network, x), quantity = row_keys[row // len(QUANTITIES)], list(QUANTITIES)[row % len(QUANTITIES)]
        lowest = quantity == list(QUANTITIES)[-1]
        summary = of_network(summaries[quantity], network)
        for name, axes in zip(labels, panels, strict=True):
            _draw_panel(axes, summary[summary["labels"] == name], x, names, style)
            step_axis(axes, values[x].max(), len(labels))
            axes.tick_params(labelbottom=lowest)
            axes.set_xlabel(AXES[x] if lowest else "")
            if quantity != "gap":
                axes.set_ylim(-3, 103)
        panels[0].set_ylabel(QUANTITIES[quantity])
        row_title(panels[-1], network_title(network, all_networks))
    column_titles(grid, [readable(name) for name in labels])
    colors = [Line2D([], [], color=style.color(name), linewidth=2, label=readable(name)) for name in names]
    legend_below(figure, [*colors, band_handle(style, list(summaries["test"]["seeds"]))])
    return figure


def with_gap(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per run and checkpoint: examples seen, the accuracies and the gap in percent; the table's order of runs.

    Args:
        rows: of the tidy table accuracy, the parts train, pristine, corrupt and test.
    """
    size = rows[rows["part"] == "train"].groupby("dataset", observed=True)["n"].first()
    examples = np.rint(rows["epoch"] * rows["dataset"].map(size))
    wide = rows.assign(examples=examples, accuracy=100 * rows["accuracy"])
    wide = wide.groupby([*_KEYS, "part"], observed=True, sort=False)["accuracy"].first().unstack("part").reset_index()
    wide = wide.reindex(columns=[*_KEYS, "train", "pristine", "corrupt", "test"])
    return wide.assign(gap=wide["train"] - wide["test"])


def horizontal_axes(values: pd.DataFrame) -> list[str]:
    """The columns to draw against: step, and examples too where optimisers take different numbers of them at a step."""
    differ = values.groupby("step")["examples"].nunique().gt(1).any()
    return list(AXES) if differ else ["step"]


def _draw_panel(axes: Axes, panel: pd.DataFrame, x: str, names: list[str], style: FigureStyle) -> None:
    """The lines of one label set and quantity, an optimiser each."""
    axes.axhline(0, color=NEUTRAL, linewidth=0.7, zorder=1)
    for name in names:
        line = panel[panel["optimizer"] == name]
        if not line.empty:
            draw_line_with_band(axes, line[x], line, style.color(name), LineLook((0, ())), name)
    if panel.empty:
        say_not_run(axes, "no such examples")
