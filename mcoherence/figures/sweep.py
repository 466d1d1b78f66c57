"""Exploratory sweeps over one setting of a network: the course of m-coherence, its peak and end, and the accuracies."""

from collections.abc import Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcoherence.figures.axes import log_axis, orthogonal_limit, step_axis
from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import bars_handle, legend_below, text_handle
from mcoherence.figures.panels import column_titles, message_figure, panel_grid, row_title, say_not_run
from mcoherence.figures.reading import Tables, in_order, label_sets
from mcoherence.figures.style import NEUTRAL, FigureStyle, LineLook, readable, theme

_COLUMNS = ("m-coherence along training", "m-coherence: peak and last", "accuracy at the end (%)")
_FILL: dict[str, Literal["full", "none"]] = {
    "peak": "full", "last": "none", "train_accuracy": "full", "test_accuracy": "none",
}  # fmt: skip
_ROW = ["dataset", "optimizer", "setting", "labels"]
_PLACES = {"full": -0.12, "none": 0.12}  # beside the middle of a value's share
_COLORS, _LIGHTEST = "viridis", 0.85  # the colour map's end is too light for a line on white


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """m-coherence against the step, its peak and end, and accuracies, by the value of a swept setting.

    A row per data set, optimiser, swept setting and label set. Colours are the setting's values. Lines and circles are
    means over seeds, geometric for m-coherence, with t intervals; dots are seeds. Peaks are smoothed, past the initial
    transient. Source: none of the papers; exploratory.

    Args:
        tables: with the tidy table sweep.
        style: the figures' shared settings.
    """
    table = tables["sweep"]
    run = ["setting", "dataset", "model", "labels", "optimizer", "seed"]
    lost = table.groupby(run)["diverged"].transform("any")
    rows = table[~lost]
    if rows.empty:
        return message_figure("Every run of this study's sweeps diverged.")
    row_keys = [
        (dataset, optimizer, setting, labels)
        for dataset in in_order(rows["dataset"], [])
        for optimizer in in_order(rows["optimizer"], [])
        for setting in in_order(rows["setting"], [])
        for labels in label_sets(rows)
        if (rows[_ROW].astype(str) == [dataset, optimizer, setting, labels]).all(axis=1).any()
    ]
    datasets = {dataset for dataset, *_ in row_keys}
    seeds: list[int] = []
    figure, grid = panel_grid(len(row_keys), len(_COLUMNS), row_height=2.0, sharex=False, sharey=False)
    for (dataset, optimizer, setting, labels), panels in zip(row_keys, grid, strict=True):
        of_panel = {"dataset": dataset, "optimizer": optimizer, "setting": setting, "labels": labels}
        panel = rows[(rows[list(of_panel)] == pd.Series(of_panel)).all(axis=1)]
        values = sorted(rows.loc[rows["setting"] == setting, "value"].unique())
        colors = list(map(mpl.colors.to_hex, mpl.colormaps[_COLORS](np.linspace(0, _LIGHTEST, len(values)))))
        seeds += _draw_course(panels[0], panel, values, colors, style)
        ends = ends_of_runs(panel)
        for axes, quantities in zip(panels[1:], (("peak", "last"), ("train_accuracy", "test_accuracy")), strict=True):
            for quantity in quantities:
                _draw_ends(axes, ends, quantity, values, colors, style)
            axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
            axes.set_xlim(-0.5, len(values) - 0.5)
            axes.set_xlabel(readable(setting))
        orthogonal_limit(panels[1])
        log_axis(panels[1])
        panels[2].set_ylim(-3, 103)
        step_axis(panels[0], rows["step"].max(), len(_COLUMNS))
        of_data = f"{readable(dataset)}, " if len(datasets) > 1 else ""
        row_title(panels[-1], f"{of_data}{readable(setting)}, {readable(optimizer)}\n{readable(labels)}")
    column_titles(grid, _COLUMNS)
    grid[-1, 0].set_xlabel("training step")
    figure.suptitle("Exploratory: no claim of the papers")
    legend_below(figure, _handles(style, seeds, table[lost].groupby(run).ngroups))
    return figure


def ends_of_runs(panel: pd.DataFrame) -> pd.DataFrame:
    """One row per value and seed: peak of m-coherence past the transient; m-coherence and accuracies (%) at the end.

    The peak is smoothed as in the claims, see `mcoherence.tables.curves`.
    """
    by = ["value", "seed"]
    last = panel.sort_values("step").groupby(by).last()
    return pd.DataFrame(
        {
            "peak": panel.groupby(by)["smoothed_m_coherence"].max(),
            "last": last["m_coherence"],
            "train_accuracy": 100 * last["train_accuracy"],
            "test_accuracy": 100 * last["test_accuracy"],
        }
    ).reset_index()


def _draw_course(
    axes: Axes, panel: pd.DataFrame, values: Sequence[float], colors: Sequence[str], style: FigureStyle
) -> list[int]:
    """m-coherence against the step, a line per value; how many seeds each mean is of."""
    orthogonal_limit(axes)
    course = over_seeds(panel, ["value", "step"], "m_coherence", style.confidence, logarithmic=True)
    for value, color in zip(values, colors, strict=True):
        line = course[course["value"] == value]
        if not line.empty:
            draw_line_with_band(axes, line["step"], line, color, LineLook((0, ())), f"{value:g}")
    if panel.empty:
        say_not_run(axes)
    log_axis(axes)
    return list(course["seeds"])


def _draw_ends(
    axes: Axes,
    ends: pd.DataFrame,
    quantity: str,
    values: Sequence[float],
    colors: Sequence[str],
    style: FigureStyle,
) -> None:
    """Seeds, means and intervals of one quantity, by value."""
    axes.grid(visible=False, axis="x")
    logarithmic = quantity in ("peak", "last")
    means = over_seeds(ends, ["value"], quantity, style.confidence, logarithmic=logarithmic)
    for position, (value, color) in enumerate(zip(values, colors, strict=True)):
        of_seeds, mean = ends[ends["value"] == value], means[means["value"] == value]
        fill = _FILL[quantity]
        place = position + _PLACES[fill]
        axes.plot(np.full(len(of_seeds), place), of_seeds[quantity], ".", color=color, markersize=3, alpha=0.5)
        axes.errorbar(
            np.full(len(mean), place),
            mean["mean"],
            yerr=np.stack([mean["mean"] - mean["lower"], mean["upper"] - mean["mean"]]),
            color=color,
            linestyle="",
            marker="o",
            fillstyle=fill,
            markersize=5,
            elinewidth=1.0,
            label=f"{quantity} {value:g}",
        )


def _handles(style: FigureStyle, seeds: list[int], num_lost: int) -> list[Artist]:
    """The legend's entries: what full and open circles, dots and bars are, and what is left out."""
    names = {"full": "peak past the transient; training", "none": "last checkpoint; test"}
    marks: list[Artist] = [
        Line2D([], [], color=NEUTRAL, linestyle="", marker="o", fillstyle=fill, label=name)  # type: ignore[arg-type]
        for fill, name in names.items()
    ]
    dot = Line2D([], [], color=NEUTRAL, linestyle="", marker=".", markersize=3, alpha=0.5, label="one seed")
    left_out = [text_handle(f"left out: {num_lost} run(s) that diverged")] if num_lost else []
    return [*marks, dot, bars_handle(style, seeds), *left_out]
