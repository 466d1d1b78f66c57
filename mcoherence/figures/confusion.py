"""Gradient confusion by width, depth, batch norm and skip connections: the least cosine of two mini-batches."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcoherence.figures.axes import step_axis
from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import band_handle, legend_below, text_handle
from mcoherence.figures.panels import column_titles, message_figure, panel_grid, row_title, say_not_run
from mcoherence.figures.reading import Tables, in_order, label_sets
from mcoherence.figures.style import NEUTRAL, FigureStyle, LineLook, readable, theme
from mcoherence.tables.confusion import FIRST_EPOCH, PLAIN, VARIANTS

_COLUMNS = ("by width", "by depth", "batch norm and skips against depth")
_COLORS, _LIGHTEST = "viridis", 0.85  # the colour map's end is too light for a line on white
_SOLID, _DOTTED = LineLook((0, ())), LineLook((0, (1, 1)))
_VARIANTS = {"neither": PLAIN, **VARIANTS}
_VARIANT_COLORS = dict(zip(_VARIANTS, ("#404040", "#0072B2", "#D55E00", "#009E73"), strict=True))


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """A row per data set and label set: the cosines along training by width and by depth, and the variants by depth.

    Left and middle, without batch norm and skips: the least cosine (solid) and the median one (dotted), a colour per
    width or depth. Right: the mean over the checkpoints from the end of the first epoch on of the least one. Lines are
    means over seeds, bands their t intervals. Source: arXiv 1904.06963.

    Args:
        tables: with the tidy table confusion.
        style: the figures' shared settings.
    """
    table = tables["confusion"]
    run = ["dataset", "model", "labels", "optimizer", "seed"]
    lost = table.groupby(run)["diverged"].transform("any").astype(bool)
    rows = table[~lost]
    if rows.empty:
        return message_figure("Every run of this study whose confusion was measured diverged.")
    row_keys = [
        (dataset, labels)
        for dataset in in_order(rows["dataset"], [])
        for labels in label_sets(rows[rows["dataset"] == dataset])
    ]
    seeds: list[int] = []
    figure, grid = panel_grid(len(row_keys), len(_COLUMNS), row_height=2.0, sharex=False)
    for (dataset, labels), panels in zip(row_keys, grid, strict=True):
        panel = rows[(rows["dataset"] == dataset) & (rows["labels"] == labels)]
        plain = panel[of_variant(panel, PLAIN)]
        for axes, setting, other in ((panels[0], "width", "depth"), (panels[1], "depth", "width")):
            seeds += _draw_course(axes, most_varied(plain, setting, other), setting, style)
            step_axis(axes, rows["step"].max(), len(_COLUMNS))
        seeds += _draw_variants(panels[2], panel, style)
        panels[0].set_ylabel("cosine")
        for axes in panels:
            axes.set_ylim(-1.05, 1.05)  # where cosines are, however wide a band of few seeds is
            axes.axhline(0, color=NEUTRAL, linewidth=0.7, zorder=1)
        row_title(panels[-1], f"{readable(dataset)}\n{readable(labels)}")
    column_titles(grid, _COLUMNS)
    for axes in grid[-1, :2]:
        axes.set_xlabel("training step")
    grid[-1, 2].set_xlabel("hidden layers")
    drawn = [name for name, variant in _VARIANTS.items() if of_variant(rows, variant).any()]
    legend_below(figure, _handles(style, seeds, drawn, table[lost].groupby(run).ngroups))
    return figure


def of_variant(rows: pd.DataFrame, variant: tuple[bool, bool]) -> pd.Series:
    """Whether each row is of a network with (batch norm, skips) as the variant says."""
    return (rows["normalised"] == variant[0]) & (rows["skip"] == variant[1])


def most_varied(rows: pd.DataFrame, setting: str, other: str) -> pd.DataFrame:
    """The rows of the value of one setting at which another has the most values; the least of equals; all if empty."""
    if rows.empty:
        return rows
    counts = rows.groupby(other)[setting].nunique()
    return rows[rows[other] == counts.idxmax()]


def in_training(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean least cosine from the end of the first epoch on, a row per width, depth and seed."""
    later = rows[rows["epoch"] >= FIRST_EPOCH]
    return later.groupby(["width", "depth", "seed"])["min_cosine"].mean().reset_index()


def _draw_course(axes: Axes, rows: pd.DataFrame, setting: str, style: FigureStyle) -> list[int]:
    """The least and the median cosine against the step, a colour per value; how many seeds each mean is of."""
    if rows.empty:
        say_not_run(axes)
        return []
    values = sorted(rows[setting].unique())
    colors = list(map(mpl.colors.to_hex, mpl.colormaps[_COLORS](np.linspace(0, _LIGHTEST, len(values)))))
    seeds: list[int] = []
    for quantity, look in (("min_cosine", _SOLID), ("median_cosine", _DOTTED)):
        course = over_seeds(rows, [setting, "step"], quantity, style.confidence)
        seeds += list(course["seeds"])
        for value, color in zip(values, colors, strict=True):
            line = course[course[setting] == value]
            label = f"{value:g}" if quantity == "min_cosine" else f"{quantity} {value:g}"
            draw_line_with_band(axes, line["step"], line, color, look, label)
    handles = [Line2D([], [], color=color, label=f"{value:g}") for value, color in zip(values, colors, strict=True)]
    axes.legend(handles=handles, title=setting, loc="best", fontsize="x-small", title_fontsize="x-small")
    return seeds


def _draw_variants(axes: Axes, rows: pd.DataFrame, style: FigureStyle) -> list[int]:
    """The mean least cosine in training against depth, a colour per variant; how many seeds each mean is of."""
    seeds: list[int] = []
    depths: Sequence[float] = sorted(rows["depth"].unique())
    for name, variant in _VARIANTS.items():
        means = in_training(most_varied(rows[of_variant(rows, variant)], "depth", "width"))
        if means.empty:
            continue
        summary = over_seeds(means, ["depth"], "min_cosine", style.confidence)
        places = pd.Series(np.searchsorted(depths, summary["depth"]))
        draw_line_with_band(axes, places, summary, _VARIANT_COLORS[name], LineLook((0, ()), marker="o"), name)
        seeds += list(summary["seeds"])
    axes.set_xticks(range(len(depths)), [f"{depth:g}" for depth in depths])
    axes.set_xlim(-0.3, len(depths) - 0.7)
    return seeds


def _handles(style: FigureStyle, seeds: list[int], drawn: Sequence[str], num_lost: int) -> list[Artist]:
    """The legend's entries: what lines are, the variants, bands, and what is left out."""
    lines: list[Artist] = [
        Line2D([], [], color=NEUTRAL, linestyle=look.linestyle, label=name)
        for name, look in (("least of all pairs", _SOLID), ("median of the pairs", _DOTTED))
    ]
    variants = [
        Line2D([], [], color=color, marker="o", label="neither batch norm nor skips" if name == "neither" else name)
        for name, color in _VARIANT_COLORS.items()
        if name in drawn
    ]
    left_out = [text_handle(f"left out: {num_lost} run(s) that diverged")] if num_lost else []
    return [*lines, *variants, band_handle(style, seeds), *left_out]
