"""Overfitting and accuracy at the end of training against the clipping of winsorised SGD, per noise level."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import band_handle, legend_below, lost_handles
from mcoherence.figures.panels import label_below, message_figure, network_title, panel_grid, row_label, row_title
from mcoherence.figures.reading import (
    Network,
    Tables,
    full_set_runs,
    label_sets,
    networks,
    nothing_drawn,
    of_network,
    runs_lost,
)
from mcoherence.figures.style import NEUTRAL, FigureStyle, LineLook, looks, readable, theme
from mcoherence.tables.rows import last_rows

QUANTITIES = {
    "overfit": "overfit (points)",
    "train_accuracy": "training accuracy (%)",
    "test_accuracy": "test accuracy (%)",
}
_COLORS = "viridis"
_LIGHTEST = 0.8  # of the colour map, whose end is too light for a line on white


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Three panels per network against c: overfit, training and test accuracy at the last checkpoint.

    Lines are label sets, from means over seeds, bands their t intervals; dotted lines are the proper accuracy.
    Source: arXiv 2002.10657, winsorised SGD: training accuracy and overfit against c for each noise level.

    Args:
        tables: with the tidy table overfit.
        style: the figures' shared settings.
    """
    table = last_rows(full_set_runs(tables["overfit"]))
    table = table[table["c"].notna()]
    rows = table[table["overfit"].notna()]
    clipped = rows.groupby(["dataset", "model", "alike"])["c"].transform("max") > 0  # not where SGD ran alone
    rows = rows[clipped.astype(bool)]
    if rows.empty:
        nothing = "This study has no runs of winsorised SGD with uniform or permuted labels."
        return message_figure(nothing_drawn(table, nothing))
    rows = rows.assign(**{name: 100 * rows[name] for name in (*QUANTITIES, "proper_accuracy")})
    all_networks, labels = networks(rows), label_sets(rows)
    ramp = mpl.colormaps[_COLORS](np.linspace(0, _LIGHTEST, len(labels)))
    colors = dict(zip(labels, map(mpl.colors.to_hex, ramp), strict=True))
    by = ["dataset", "model", "alike", "labels", "c"]
    summaries = {quantity: over_seeds(rows, by, quantity, style.confidence) for quantity in QUANTITIES}
    row_keys = [(network, int(a)) for network in all_networks for a in of_network(rows, network)["alike"].unique()]
    figure, grid = panel_grid(len(row_keys), len(QUANTITIES), row_height=2.3, sharex="row", sharey=False)
    for (network, alike), panels in zip(row_keys, grid, strict=True):
        family = of_family(rows, network, alike)
        levels = np.sort(family["c"].unique())
        for quantity, axes in zip(QUANTITIES, panels, strict=True):
            _draw_panel(axes, of_family(summaries[quantity], network, alike), levels, colors)
            row_label(axes, QUANTITIES[quantity])
            if quantity == "overfit":
                axes.axhline(0, color=NEUTRAL, linewidth=0.7, zorder=1)
            else:
                axes.set_ylim(-3, 103)
            if quantity == "train_accuracy":
                _draw_proper_accuracy(axes, family, colors)
        clipping = sorted(family.loc[family["c"] > 0, "optimizer"].unique(), key=list(rows["optimizer"]).index)
        several = (
            sum(one == network for one, _ in row_keys) > 1
        )  # families, which the network alone does not tell apart
        beside = "\n" + ", ".join(map(readable, clipping)) if several else ""
        row_title(panels[-1], network_title(network, all_networks) + beside)
    label_below(grid, "clipped percentile c")
    lost = lost_handles(runs_lost(table), shown_until=False)
    legend_below(figure, [*_handles(colors, style, list(summaries["overfit"]["seeds"])), *lost])
    return figure


def of_family(table: pd.DataFrame, network: Network, alike: int) -> pd.DataFrame:
    """The rows of one network and one family of optimisers, which differ in c alone."""
    rows = of_network(table, network)
    return rows[rows["alike"] == alike]


def _draw_panel(axes: Axes, summary: pd.DataFrame, levels: NDArray[np.float64], colors: dict[str, str]) -> None:
    """One line per label set; the levels of c are evenly spaced."""
    for name, look in looks(list(colors)).items():
        line = summary[summary["labels"] == name]
        if not line.empty:
            places = pd.Series(np.searchsorted(levels, line["c"]))
            draw_line_with_band(axes, places, line, colors[name], LineLook(look.linestyle, marker="o"), name)
    axes.set_xticks(range(len(levels)), [f"{c:g}" for c in levels])
    axes.set_xlim(-0.2, len(levels) - 0.8)


def _draw_proper_accuracy(axes: Axes, family: pd.DataFrame, colors: dict[str, str]) -> None:
    """What a network that predicts every true label would score, a dotted line per label set."""
    for name, proper in family.groupby("labels")["proper_accuracy"].first().items():
        axes.axhline(
            proper, color=colors[str(name)], linestyle=":", linewidth=1.0, zorder=1, label=f"{name} proper accuracy"
        )


def _handles(colors: dict[str, str], style: FigureStyle, seeds: list[int]) -> list[Artist]:
    """The legend's entries: label sets, the proper accuracy, bands."""
    lines = [
        Line2D([], [], color=colors[name], linestyle=look.linestyle, label=readable(name))
        for name, look in looks(list(colors)).items()
    ]
    proper = Line2D([], [], color=NEUTRAL, linestyle=":", linewidth=1.0, label="proper accuracy")
    return [*lines, proper, band_handle(style, seeds)]
