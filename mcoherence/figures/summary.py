"""The study at a glance: a row per network, from coherence to generalisation, all from the other figures' tables."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcoherence.figures.axes import log_axis, orthogonal_limit, step_axis
from mcoherence.figures.generalization_gap import last_gap
from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import band_handle, legend_below, look_handles
from mcoherence.figures.panels import column_titles, message_figure, network_title, panel_grid, row_title, say_not_run
from mcoherence.figures.reading import (
    Tables,
    full_set_runs,
    in_order,
    label_sets,
    networks,
    of_network,
    rows_of_training_sample,
)
from mcoherence.figures.style import NEUTRAL, FigureStyle, LineLook, looks, readable, theme

_COLUMNS = ("m-coherence", "test accuracy (%)", "training − test accuracy (points)", "accuracy on easy, hard (%)")
_SUBSETS = ("easy", "hard", "random")
_SPREAD = 0.5  # of the distance between two label sets, shared by the optimisers


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Per network: coherence and test accuracy along training, the gap at its end, easy and hard examples.

    The first two show the reference optimiser, a line per label set; the third every optimiser; the fourth the accuracy
    of networks trained and tested on the easy, the hard and a random part. Means over seeds with t intervals.

    Args:
        tables: with the tidy tables coherence and accuracy, and easy_hard where the study has it.
        style: the figures' shared settings.
    """
    runs = full_set_runs(tables["accuracy"])
    runs = runs[runs["accuracy"].notna()]
    if runs.empty:
        return message_figure("This study evaluated no runs on the full training set.")
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
    gaps = over_seeds(last_gap(runs), [*keys, "labels", "optimizer"], "gap", style.confidence)
    subsets = _own_test_part(tables.get("easy_hard", pd.DataFrame()))
    own = over_seeds(subsets, [*keys, "train_subset"], "accuracy", style.confidence) if len(subsets) else subsets
    trained_on = [name for name in _SUBSETS if len(own) and (own["train_subset"] == name).any()]
    figure, grid = panel_grid(len(all_networks), len(_COLUMNS), row_height=1.7, sharey="col", sharex="col")
    for network, panels in zip(all_networks, grid, strict=True):
        orthogonal_limit(panels[0])
        for column, table in enumerate(curves):
            panel = of_network(table, network)
            for name, look in label_looks.items():
                line = panel[panel["labels"] == name].sort_values("step")
                if not line.empty:
                    draw_line_with_band(panels[column], line["step"], line, style.color(reference), look, name)
            step_axis(panels[column], runs["step"].max(), len(_COLUMNS))
        _draw_gaps(panels[2], of_network(gaps, network), labels, optimizers, style)
        _draw_subsets(panels[3], of_network(own, network) if len(own) else own, trained_on, style.color(reference))
        row_title(panels[-1], network_title(network, all_networks))
    for panels in grid:
        log_axis(panels[0])
        panels[1].set_ylim(-3, 103)  # intervals of few seeds can reach past what is possible
        panels[3].set_ylim(top=min(panels[3].get_ylim()[1], 101))
    column_titles(grid, _COLUMNS)
    for axes in grid[-1, :2]:
        axes.set_xlabel("training step")
    grid[-1, 3].set_xlabel("trained and tested on")
    legend_below(figure, _handles(label_looks, optimizers, list(curves[1]["seeds"]), style))
    return figure


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
    axes: Axes, gaps: pd.DataFrame, labels: Sequence[str], optimizers: Sequence[str], style: FigureStyle
) -> None:
    """The gap in percentage points by label set, the optimisers side by side."""
    axes.axhline(0, color=NEUTRAL, linewidth=0.7, zorder=1)
    for place, optimizer in enumerate(optimizers):
        offset = _SPREAD * ((place + 0.5) / len(optimizers) - 0.5)
        points = gaps[gaps["optimizer"] == optimizer]
        positions = [labels.index(name) + offset for name in points["labels"]]
        _draw_points(axes, positions, points, style.color(optimizer), optimizer)
    axes.set_xticks(range(len(labels)), [readable(name).removesuffix(" labels").replace(" ", "\n") for name in labels])
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.tick_params(axis="x", labelsize="small")  # neighbours share a word, which ran together
    if gaps.empty:
        say_not_run(axes)


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
