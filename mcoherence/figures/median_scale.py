"""Memorisation against the number of examples of a class in a group: at equal fit of pristine examples, and in time."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from mcoherence.claims.median_scale import Finding, findings
from mcoherence.figures.intervals import over_seeds
from mcoherence.figures.legends import bars_handle, legend_below
from mcoherence.figures.panels import column_titles, label_below, message_figure, panel_grid, row_title, say_not_run
from mcoherence.figures.reading import Tables, in_order, networks, of_network
from mcoherence.figures.style import NEUTRAL, FigureStyle, readable, theme

_COLUMNS = ("corrupt labels fitted at equal fit", "time to memorise, over SGD's")
_SHIFT = 0.03  # of neighbouring methods, in decades, so that their intervals do not hide each other


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """A row per network: corrupt accuracy at equal fit of pristine examples, and time to memorise against SGD's.

    Points are means over the reported seeds at the chosen rate, with t intervals, against the examples of a class in a
    group; a triangle is a lower bound, of runs that never fit half of the corrupt labels. A setting in which a run of
    SGD never does has no time to compare with. Source: statement E14.

    Args:
        tables: with the tidy table median_scale.
        style: the figures' shared settings.
    """
    table = tables["median_scale"]
    rows = table[table["chosen"].astype(bool) & ~table["tuning"].astype(bool) & ~table["diverged"].astype(bool)]
    if rows.empty:
        return message_figure("No rate was chosen: no run reaches 0.9 of the pristine examples with all tuning seeds.")
    methods = in_order(table["method"], list(table.loc[table["reference"].astype(bool), "method"].unique()))
    shifts = {name: 10 ** (_SHIFT * (number - len(methods) / 2)) for number, name in enumerate(methods)}
    found = findings(table)
    seeds: list[int] = []
    row_keys = networks(table)
    figure, grid = panel_grid(len(row_keys), len(_COLUMNS), row_height=2.2, sharey=False)
    for network, panels in zip(row_keys, grid, strict=True):
        dataset, model = network
        seeds += _draw_fit(panels[0], of_network(rows, network), methods, shifts, style)
        own = [one for one in found if (one.dataset, one.model) == network]
        _draw_times(panels[1], own, methods, shifts, style)
        row_title(panels[-1], f"{readable(dataset)}\n{readable(model)}")
    column_titles(grid, _COLUMNS)
    label_below(grid, "examples of a class in a group")
    colors = [Line2D([], [], color=style.color(name), marker="o", label=readable(name)) for name in methods]
    bound = Line2D(
        [], [], color=NEUTRAL, linestyle="", marker="^", fillstyle="none", label="at least: never in the run"
    )
    legend_below(figure, [*colors, bound, bars_handle(style, seeds)])
    return figure


def _draw_fit(
    axes: Axes, rows: pd.DataFrame, methods: list[str], shifts: dict[str, float], style: FigureStyle
) -> list[int]:
    """Accuracy on corrupt examples at equal fit, in percent; how many seeds each mean is of."""
    values = rows.assign(percent=100 * rows["corrupt_at_fit"].astype(float))
    means = over_seeds(values, ["method", "batch_size", "per_class"], "percent", style.confidence)
    for name in methods:
        line = means[means["method"] == name].sort_values("per_class")
        _points(axes, line["per_class"] * shifts[name], line, style.color(name), name)
    if means.empty:
        say_not_run(axes, "no run fits the pristine examples")
    _class_axis(axes)
    axes.set_ylim(-3, 103)
    axes.set_ylabel("corrupt accuracy (%)")
    return list(means["seeds"])


def _class_axis(axes: Axes) -> None:
    """A logarithmic axis with round numbers: all rows share it, and none has its points where another has."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _points(axes: Axes, x: pd.Series, means: pd.DataFrame, color: str, label: str) -> None:
    """Means with their intervals, joined."""
    axes.errorbar(
        x,
        means["mean"],
        yerr=np.stack([means["mean"] - means["lower"], means["upper"] - means["mean"]]),
        color=color,
        marker="o",
        markersize=4,
        linewidth=0.8,
        elinewidth=1.0,
        label=label,
    )


def _draw_times(
    axes: Axes, found: list[Finding], methods: list[str], shifts: dict[str, float], style: FigureStyle
) -> None:
    """Doublings of the reference's time, with the share that counts as equal as a band."""
    equal = np.log2(style.delay_factor)
    axes.axhspan(-equal, equal, color=NEUTRAL, alpha=0.15, linewidth=0)
    axes.axhline(0, color=NEUTRAL, linewidth=0.8)
    for name in methods:
        own = sorted(
            (one for one in found if one.method == name and not one.never_by_sgd and one.longer.notna().any()),
            key=lambda one: one.per_class,
        )
        by_seed = [
            pd.DataFrame({"seed": one.longer.index, "longer": one.longer.to_numpy()}).assign(
                batch_size=one.batch_size, per_class=one.per_class
            )
            for one in own
        ]
        if by_seed:
            # A method of groups of one example has as many of a class in each with every batch size.
            settings = ["per_class", "batch_size"]
            means = over_seeds(pd.concat(by_seed, ignore_index=True), settings, "longer", style.confidence)
            _points(axes, means["per_class"] * shifts[name], means, style.color(name), name)
        for one in own:
            if one.never:
                place, mean = one.per_class * shifts[name], one.longer.mean()
                axes.plot([place], [mean], "^", color=style.color(name), fillstyle="none", markersize=9)
    _class_axis(axes)
    axes.set_ylabel("doublings of SGD's time")
