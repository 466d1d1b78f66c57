"""What pristine and corrupt examples contribute to the gradient, beside null worlds with shuffled tags."""

import math

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from mcoherence.figures.axes import SymlogTicks, decade_label, step_axis
from mcoherence.figures.combinations import name_combinations
from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import band_handle, legend_below, look_handles, lost_handles
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
from mcoherence.figures.style import NEUTRAL, FigureStyle, looks, readable, theme
from mcoherence.tables.columns import MEASURED_WORLD

GROUPS = ("pristine", "corrupt")
QUANTITIES = {"f": "share of the\ngradient", "i": "running sum\nper example"}
NULL_COLOR = "#9a9a9a"
SHARES_SHOWN = (-0.6, 1.6)
DECADES_OF_SUMS = 3


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """f^p and f^c, and their running sums, against the step: columns optimisers, two rows per network and label set.

    Lines are means over seeds, bands their t intervals; null worlds are grey, a line each, without bands.
    Source: arXiv 2002.10657, contributions of pristine and corrupt examples and their null worlds.

    Args:
        tables: with the tidy table contributions.
        style: the figures' shared settings.
    """
    rows = full_set_runs(tables["contributions"])
    if rows["f_pristine"].isna().all():
        nothing = "This study measured no contributions of pristine and corrupt examples."
        return message_figure(nothing_drawn(rows, nothing))
    optimizers = in_order(rows["optimizer"], [style.reference_optimizer])
    all_networks = networks(rows)
    row_keys = [(network, name) for network in all_networks for name in label_sets(of_network(rows, network))]
    by = ["dataset", "model", "labels", "optimizer", "world", "step"]
    summaries = {
        (quantity, group): over_seeds(rows, by, f"{quantity}_{group}", style.confidence)
        for quantity in QUANTITIES
        for group in GROUPS
    }
    figure, grid = panel_grid(2 * len(row_keys), len(optimizers), row_height=1.8)
    for row, panels in enumerate(grid):
        (network, labels), quantity = row_keys[row // 2], list(QUANTITIES)[row % 2]
        lines_of_row: list[pd.DataFrame] = []
        for optimizer, axes in zip(optimizers, panels, strict=True):
            lines = {
                group: of_network(summary[(summary["optimizer"] == optimizer) & (summary["labels"] == labels)], network)
                for (which, group), summary in summaries.items()
                if which == quantity
            }
            lines_of_row += lines.values()
            _draw_panel(axes, lines, quantity, style.color(optimizer))
            if lines[GROUPS[0]].empty:
                observed = (rows["optimizer"] == optimizer) & (rows["labels"] == labels)
                say_not_run(axes, why_empty(of_network(rows[observed], network)))
            step_axis(axes, rows["step"].max(), len(optimizers))
        if quantity == "i":
            _running_sum_axis(panels[0], pd.concat(lines_of_row))  # the row shares its axis
        row_label(panels[0], QUANTITIES[quantity])
    label_below(grid, "training step")
    titles = [f"{network_title(network, all_networks)}\n{readable(labels)}" for network, labels in row_keys]
    colors = [style.color(name) for name in optimizers]
    name_combinations(grid, titles, [readable(name) for name in optimizers], colors, stacked=2)
    handles = _handles(style, list(summaries["f", "pristine"]["seeds"]))
    legend_below(figure, [*handles, *lost_handles(runs_lost(rows))])
    return figure


def _draw_panel(axes: Axes, lines: dict[str, pd.DataFrame], quantity: str, color: str) -> None:
    """The lines of one optimiser, label set and quantity: both groups in every world, null worlds below."""
    if quantity == "f":
        axes.set_ylim(*SHARES_SHOWN)
    axes.axhline(0, color=NEUTRAL, linewidth=0.7, zorder=1)
    for group, look in looks(GROUPS).items():
        for world, line in lines[group].groupby("world", sort=True):
            if world != MEASURED_WORLD:
                axes.plot(
                    line["step"],
                    line["mean"],
                    color=NULL_COLOR,
                    linestyle=look.linestyle,
                    linewidth=0.8,
                    zorder=1.5,
                    label=f"{group} {world}",
                )
        line = lines[group][lines[group]["world"] == MEASURED_WORLD]
        if not line.empty:
            draw_line_with_band(axes, line["step"], line, color, look, group)


def _running_sum_axis(axes: Axes, drawn: pd.DataFrame) -> None:
    """A vertical axis with room for the small sums of early training: linear near zero, logarithmic beyond."""
    largest = drawn["mean"].abs().max()
    if largest > 0:
        linear_below = 10.0 ** (math.floor(math.log10(largest)) - DECADES_OF_SUMS)
        axes.set_yscale("symlog", linthresh=linear_below, linscale=0.4)
        axes.yaxis.set_major_locator(SymlogTicks(linear_below))
        axes.yaxis.set_major_formatter(FuncFormatter(decade_label))
        axes.set_ylim(-3 * linear_below, 5 * largest)


def _handles(style: FigureStyle, seeds: list[int]) -> list[Artist]:
    """The legend's entries: groups, null worlds, bands."""
    null = Line2D([], [], color=NULL_COLOR, linewidth=0.8, label="the same with shuffled tags, one world a line")
    return [*look_handles(looks(GROUPS)), null, band_handle(style, seeds)]
