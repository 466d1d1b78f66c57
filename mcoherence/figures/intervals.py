"""Means over seeds with their t intervals, and the line with a band that shows them.

Student's t and not the bootstrap of the claims, which is too narrow where seeds are few.

One rule for all figures: where an axis is logarithmic, the mean and the interval of its quantity are worked
on the logarithms (geometric mean, interval of it), so that a band is symmetric as drawn and stays above 0.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from mcoherence.claims.intervals import t_half_width
from mcoherence.figures.style import BAND_OPACITY, NEUTRAL, LineLook

SINGLE_SEED = "_seed"  # how the name of a thin line begins, for whoever inspects the figure
FEWEST_SINGLE = 3  # seeds that tell where one more would lie
FEWEST_WITH_BAND = (
    4  # seeds; the interval of fewer hides the lines that it is of (of two it is 13 standard errors wide)
)


def over_seeds(
    table: pd.DataFrame, by: Sequence[str], value: str, confidence: float, logarithmic: bool = False
) -> pd.DataFrame:
    """The mean over seeds and its t interval, one row per combination of `by`, sorted by it.

    Missing values are left out, and so are values that are not positive when `logarithmic`, because no
    logarithmic axis can show them: `not_positive` counts those, for the figure to say so.

    Args:
        table: one row per combination of `by` and seed.
        by: columns to keep apart, such as ["step"].
        value: the column to average.
        confidence: coverage of the interval.
        logarithmic: geometric mean with its interval, for a logarithmic axis.

    Returns:
        The columns of `by`, then mean, lower, upper, half_width (of the logarithm when `logarithmic`), seeds, and
        single: seed -> its own value, where there are too few of them for a band.

    Raises:
        ValueError: a combination holds one seed twice, so that the rows are not independent runs.
    """
    if table.duplicated([*by, "seed"]).any():
        raise ValueError(f"some seed occurs twice in one combination of {list(by)}; the table mixes different runs")
    values = table[value].astype(float)
    if logarithmic:
        values = pd.Series(np.log(values.where(values > 0)), index=table.index)
    kept = values.notna()
    keys = [table.loc[kept, key] for key in by]
    summary = values[kept].groupby(keys, observed=True).agg(["mean", "std", "count"]).reset_index()
    half_width = t_half_width(summary["std"].to_numpy(float), summary["count"].to_numpy(int), confidence)
    mean = summary["mean"].to_numpy(float)
    cells = values[kept].groupby(keys, observed=True).ngroup()
    scale = np.exp if logarithmic else np.asarray
    return summary[list(by)].assign(
        mean=scale(mean),
        lower=scale(mean - half_width),
        upper=scale(mean + half_width),
        half_width=half_width,
        seeds=summary["count"],
        single=_single_values(cells, table.loc[kept, "seed"], scale(values[kept].to_numpy(float)), summary["count"]),
    )


def _single_values(cells: pd.Series, seeds: pd.Series, values: NDArray[np.float64], counts: pd.Series) -> pd.Series:
    """Each cell's values by seed, in the cells' order; none of a cell that has enough seeds for a band."""
    enough = (counts >= FEWEST_WITH_BAND).to_numpy()
    found: list[dict[int, float]] = [{} for _ in enough]
    if not enough.all():
        for cell, seed, value in zip(cells, seeds, values, strict=True):
            if not enough[cell]:
                found[cell][int(seed)] = float(value)
    return pd.Series(found, index=counts.index, dtype=object)


def of_single_runs(summary: pd.DataFrame, logarithmic: bool = False) -> pd.DataFrame:
    """The same means with the interval in which one more seed would lie, Student's t; for null bands.

    What single runs give where there is nothing to find scatters about its mean; an interval of the mean would hide it.
    There is none of fewer than FEWEST_SINGLE seeds: of two it would be wider than any figure.

    Args:
        summary: what `over_seeds` returns.
        logarithmic: as there.
    """
    enough = summary["seeds"] >= FEWEST_SINGLE
    half_width = (summary["half_width"] * np.sqrt(summary["seeds"] + 1)).where(enough)
    mean = np.log(summary["mean"]) if logarithmic else summary["mean"]
    scale = np.exp if logarithmic else np.asarray
    bounds = {"lower": scale(mean - half_width), "upper": scale(mean + half_width)}
    return summary.assign(half_width=half_width, **bounds)


def draw_null_band(axes: Axes, x: pd.Series, null: pd.DataFrame, look: LineLook, label: str) -> None:
    """What a quantity is where there is nothing to find: a thin grey line, and where single runs would lie.

    Args:
        axes: where to.
        x: horizontal positions, one per row of `null`.
        null: what `of_single_runs` returns; without an interval the band is missing.
        look: the dashes of what it is the null of.
        label: the name of that.
    """
    axes.plot(
        x, null["mean"], color=NEUTRAL, linestyle=look.linestyle, linewidth=0.6, zorder=1, label=f"null of {label}"
    )
    band = to_rgba(NEUTRAL, BAND_OPACITY)
    axes.fill_between(x, null["lower"], null["upper"], color=band, linewidth=0, zorder=0, label=f"null of {label}")


def not_positive(values: pd.Series) -> int:
    """How many values a logarithmic axis cannot show; missing values are not counted."""
    return int((values <= 0).sum())


def draw_line_with_band(
    axes: Axes, x: pd.Series, summary: pd.DataFrame, color: str, look: LineLook, label: str
) -> Line2D:
    """One mean line with the band of its interval, or with a thin line for each seed where they are too few for one.

    Args:
        axes: where to.
        x: horizontal positions, one per row of `summary`.
        summary: what `over_seeds` returns.
        color: the line's and the band's colour.
        look: the line's dashes, width, opacity and marker.
        label: the line's name, for whoever inspects the figure; legends are drawn apart.

    Returns:
        The line.
    """
    (line,) = axes.plot(
        x,
        summary["mean"],
        color=color,
        linestyle=look.linestyle,
        linewidth=look.width,
        alpha=look.opacity,
        label=label,
        marker=look.marker or ("o" if len(summary) == 1 else ""),  # no line can be drawn of one point
        markersize=3,
        markerfacecolor="white",
        markeredgewidth=0.8,
    )
    if (summary["seeds"] < FEWEST_WITH_BAND).all():
        _draw_single_seeds(axes, x, summary, color, look)
        return line
    band = to_rgba(color, BAND_OPACITY)
    axes.fill_between(x, summary["lower"], summary["upper"], color=band, linewidth=0, label=label)
    return line


def _draw_single_seeds(axes: Axes, x: pd.Series, summary: pd.DataFrame, color: str, look: LineLook) -> None:
    """A thin line for each seed; of one seed the mean is its line."""
    seeds = sorted({seed for single in summary["single"] for seed in single})
    for seed in seeds if len(seeds) > 1 else ():
        values = [single.get(seed, np.nan) for single in summary["single"]]
        opacity = 0.6 * look.opacity
        axes.plot(
            x,
            values,
            color=color,
            linestyle=look.linestyle,
            linewidth=0.5,
            alpha=opacity,
            label=f"{SINGLE_SEED} {seed}",
        )
