"""The study at a glance: a row per network, from coherence to generalisation, all from the other figures' tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcoherence.figures.axes import log_axis, orthogonal_limit, step_axis
from mcoherence.figures.generalization_gap import last_gap
from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import band_handle, legend_below, look_handles, lost_handles
from mcoherence.figures.panels import (
    NARROW_LETTER,
    category_labels,
    column_titles,
    message_figure,
    network_title,
    panel_grid,
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
    rows_of_training_sample,
    runs_lost,
    why_empty,
)
from mcoherence.figures.style import NEUTRAL, TEXT_SIZE, FigureStyle, LineLook, looks, readable, theme
from mcoherence.tables.crossings import between, first_crossing

_COLUMNS = ("m-coherence", "test accuracy (%)", "training − test accuracy (points)", "accuracy on easy, hard (%)")
_PEAK_SIZE = 0.07  # inches of a circle, with its edge
_PEAK: dict[str, Any] = {"marker": "o", "markersize": 4, "markerfacecolor": "white", "markeredgewidth": 1.0}
_BEGINS: dict[str, Any] = {"color": NEUTRAL, "linewidth": 0.8, "linestyle": (0, (1, 1.5))}
_SUBSETS = ("easy", "hard", "random")
_LEARNED = 0.1  # of the corrupt labels, more than before training: from there on memorisation has begun
_SMALL = 0.833 * TEXT_SIZE  # points, what matplotlib calls small
_SPREAD = 0.5  # of the distance between two label sets, shared by the optimisers


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Per network: coherence and test accuracy along training, the gap at its end, easy and hard examples.

    The first two show the reference optimiser, a line per label set, with the peak of each line of m-coherence and the
    step at which a label set's memorisation begins; the third every optimiser; the fourth the accuracy of networks
    trained and tested on the easy, the hard and a random part. Means over seeds with t intervals.

    Args:
        tables: with the tidy tables coherence and accuracy, and easy_hard where the study has it.
        style: the figures' shared settings.
    """
    runs = full_set_runs(tables["accuracy"])
    if runs["accuracy"].isna().all():
        return message_figure(nothing_drawn(runs, "This study evaluated no runs on the full training set."))
    all_networks, labels = networks(runs), label_sets(runs)
    optimizers = in_order(runs["optimizer"], [style.reference_optimizer])
    reference = style.reference_optimizer if style.reference_optimizer in optimizers else optimizers[0]
    label_looks = looks(labels)
    keys = ["dataset", "model"]
    by, sample = [*keys, "labels", "step"], rows_of_training_sample(tables["coherence"])
    curves = [
        over_seeds(sample[sample["optimizer"] == reference], by, "m_coherence", style.confidence, logarithmic=True),
        over_seeds(_test_accuracy(runs, reference), by, "accuracy", style.confidence),
    ]
    begun = memorisation_begins(runs[runs["optimizer"] == reference])
    gaps = over_seeds(last_gap(runs), [*keys, "labels", "optimizer"], "gap", style.confidence)
    subsets = _own_test_part(tables.get("easy_hard", pd.DataFrame()))
    own = over_seeds(subsets, [*keys, "train_subset"], "accuracy", style.confidence) if len(subsets) else subsets
    trained_on = [name for name in _SUBSETS if len(own) and (own["train_subset"] == name).any()]
    columns = _COLUMNS if trained_on else _COLUMNS[:3]
    figure, grid = panel_grid(len(all_networks), len(columns), row_height=1.7, sharey="col", sharex="col")
    peaks_of_networks: list[list[pd.Series]] = []
    below = 0.0
    for network, panels in zip(all_networks, grid, strict=True):
        orthogonal_limit(panels[0])
        peaks: list[pd.Series] = []
        for column, table in enumerate(curves):
            panel = of_network(table, network)
            for name, look in label_looks.items():
                line = panel[panel["labels"] == name].sort_values("step")
                if not line.empty:
                    draw_line_with_band(panels[column], line["step"], line, style.color(reference), look, name)
                    if column == 0:
                        peaks.append(line.iloc[int(line["mean"].to_numpy().argmax())])
            if panel.empty:
                observed = of_network(runs[runs["optimizer"] == reference], network)
                say_not_run(
                    panels[column], why_empty(observed) if len(observed) else f"no runs of {readable(reference)}"
                )
            for one in begun.itertuples():
                if one.network == network:
                    panels[column].axvline(one.step, zorder=1, label=f"{one.labels} memorised", **_BEGINS)
            step_axis(panels[column], runs["step"].max(), len(columns))
        peaks_of_networks.append(peaks)
        below = _draw_gaps(
            panels[2], of_network(gaps, network), labels, optimizers, style, of_network(runs, network), len(columns)
        )
        if trained_on:
            _draw_subsets(panels[3], of_network(own, network), trained_on, style.color(reference))
        row_title(panels[-1], network_title(network, all_networks))
    for panels in grid:
        panels[0].margins(y=0.15)  # for the number above a peak
        log_axis(panels[0])
        panels[1].set_ylim(-3, 103)  # intervals of few seeds can reach past what is possible
        if trained_on:
            panels[3].set_ylim(top=min(panels[3].get_ylim()[1], 101))
    figure.set_figheight(figure.get_figheight() + below)
    column_titles(grid, columns)
    for panels, peaks in zip(grid, peaks_of_networks, strict=True):
        _mark_peaks(panels[0], peaks, style.color(reference))
    for axes in grid[-1, :2]:
        axes.set_xlabel("training step")
    if trained_on:
        grid[-1, 3].set_xlabel("trained and tested on")
    shown = {name: look for name, look in label_looks.items() if any((of["labels"] == name).any() for of in curves)}
    marks = [Line2D([], [], color=NEUTRAL, linestyle="", label="peak of the mean", **_PEAK)]
    if not begun.empty:
        marks.append(Line2D([], [], label="memorisation begins", **_BEGINS))
    drawn = {*gaps["optimizer"], *([reference] if shown else [])}
    named = _handles(shown, [name for name in optimizers if name in drawn], list(curves[1]["seeds"]), style)
    legend_below(figure, [*named, *marks, *lost_handles(runs_lost(runs))])
    return figure


def memorisation_begins(runs: pd.DataFrame) -> pd.DataFrame:
    """When each label set's corrupt labels begin to be learned: columns network, labels, step; none where never.

    That is where the mean accuracy on corrupt examples is a tenth above what it was before training, linear between
    checkpoints.

    Args:
        runs: rows of the tidy table accuracy, of one optimiser.
    """
    rows = runs[(runs["part"] == "corrupt") & runs["accuracy"].notna()]
    means = rows.groupby(["dataset", "model", "labels", "step"], observed=True, sort=False)["accuracy"].mean()
    found = []
    for (dataset, model, labels), curve in means.reset_index().groupby(
        ["dataset", "model", "labels"], observed=True, sort=False
    ):
        along = curve.sort_values("step")
        place = first_crossing(along["accuracy"], [along["accuracy"].iloc[0] + _LEARNED])
        step = float(between(along["step"], place)[0])
        if np.isfinite(step):
            found.append(((dataset, model), labels, step))
    return pd.DataFrame(found, columns=["network", "labels", "step"])


def _mark_peaks(axes: Axes, peaks: Sequence[pd.Series], color: str) -> None:
    """A circle at the highest mean of each line of m-coherence, and its value where there is room; the scales are set.

    Highest first: above the circle, else below it or beside it, else not at all.
    """
    inch, edges = axes.figure.dpi, axes.get_window_extent()
    marks = [axes.transData.transform((float(peak["step"]), float(peak["mean"]))) / inch for peak in peaks]
    taken = [_box(mark[0], mark[1], _PEAK_SIZE, _PEAK_SIZE) for mark in marks]
    for peak, (x, y) in sorted(zip(peaks, marks, strict=True), key=lambda one: -one[0]["mean"]):
        axes.plot([peak["step"]], [peak["mean"]], color=color, linestyle="", label="peak", **_PEAK)
        text = f"{peak['mean']:.2g}" if peak["mean"] < 100 else f"{peak['mean']:.0f}"
        width = NARROW_LETTER * len(text)
        aside = (width + _PEAK_SIZE) / 2 + 0.02
        for right, up in ((0.0, 0.12), (0.0, -0.12), (aside, 0.0), (-aside, 0.0)):
            box = _box(x + right, y + up, width, 0.1)
            within = edges.x0 / inch <= box[0] and box[1] <= edges.x1 / inch  # beside the panel are the ticks' labels
            if within and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                axes.annotate(
                    text, (peak["step"], peak["mean"]), xytext=(72 * right, 72 * up), textcoords="offset points",
                    ha="center", va="center", fontsize=TEXT_SIZE,
                )  # fmt: skip
                break


def _box(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    """Left, right, lower and upper edge of a box about its middle, in inches."""
    return x - width / 2, x + width / 2, y - height / 2, y + height / 2


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def _test_accuracy(runs: pd.DataFrame, optimizer: str) -> pd.DataFrame:
    """The test accuracy of one optimiser's runs, in percent."""
    rows = runs[(runs["part"] == "test") & (runs["optimizer"] == optimizer)]
    return rows.assign(accuracy=100 * rows["accuracy"])


def _own_test_part(easy_hard: pd.DataFrame) -> pd.DataFrame:
    """Where a network was tested on what it was trained on, in percent; nothing where the study has no such runs."""
    if easy_hard.empty:
        return easy_hard
    rows = easy_hard[(easy_hard["train_subset"] == easy_hard["test_subset"]) & easy_hard["accuracy"].notna()]
    return rows.assign(accuracy=100 * rows["accuracy"])


def _draw_gaps(
    axes: Axes,
    gaps: pd.DataFrame,
    labels: Sequence[str],
    optimizers: Sequence[str],
    style: FigureStyle,
    runs: pd.DataFrame,
    columns: int,
) -> float:
    """The gap in percentage points by label set, the optimisers side by side; `runs` say why there is none.

    Returns how many inches more than two lines the names of the label sets need.
    """
    axes.axhline(0, color=NEUTRAL, linewidth=0.7, zorder=1)
    for place, optimizer in enumerate(optimizers):
        offset = _SPREAD * ((place + 0.5) / len(optimizers) - 0.5)
        points = gaps[gaps["optimizer"] == optimizer]
        positions = [labels.index(name) + offset for name in points["labels"]]
        if positions:
            _draw_points(axes, positions, points, style.color(optimizer), optimizer)
    below = category_labels(axes, [readable(name).removesuffix(" labels") for name in labels], columns, _SMALL)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.tick_params(axis="x", labelsize="small")  # neighbours share a word, which ran together
    if gaps.empty:
        say_not_run(axes, why_empty(runs))
    return below


def _draw_subsets(axes: Axes, own: pd.DataFrame, trained_on: Sequence[str], color: str) -> None:
    """The accuracy on the test part of what was trained on, in the places of `trained_on`: easy, hard, random."""
    for place, name in enumerate(trained_on):
        if len(own) and (own["train_subset"] == name).any():
            _draw_points(axes, [place], own[own["train_subset"] == name], color, name)
    axes.set_xticks(range(len(trained_on)), list(trained_on))
    axes.set_xlim(-0.5, max(len(trained_on), 1) - 0.5)
    if own.empty:
        say_not_run(axes)


def _draw_points(axes: Axes, positions: Sequence[float], points: pd.DataFrame, color: str, label: str) -> None:
    """Means with the bars of their intervals."""
    axes.errorbar(
        positions, points["mean"], yerr=points["half_width"], color=color, linestyle="", marker="o", markersize=3.5,
        elinewidth=1.2, capsize=2.5, label=label,
    )  # fmt: skip
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)


def _handles(
    label_looks: Mapping[str, LineLook], optimizers: Sequence[str], seeds: list[int], style: FigureStyle
) -> list[Artist]:
    """The legend's entries: label sets, optimisers, what bands and bars are."""
    colors = [Line2D([], [], color=style.color(name), linewidth=2, label=readable(name)) for name in optimizers]
    return [*look_handles(label_looks), *colors, band_handle(style, seeds)]
