"""Which labels are wrong: how well each score of single examples finds them, by noise."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcoherence.figures.intervals import over_seeds
from mcoherence.figures.legends import bars_handle, legend_below, text_handle
from mcoherence.figures.panels import column_titles, label_below, message_figure, panel_grid, row_title, say_not_run
from mcoherence.figures.reading import Tables, in_order, networks, of_network
from mcoherence.figures.style import NEUTRAL, FigureStyle, readable, theme
from mcoherence.tables.examples import LAST, MEAN
from mcoherence.tables.label_errors import SCORES, TRAINING

# Over what a score is taken -> marker, whether it is filled, and its name in the legend.
MARKERS = {
    LAST: ("o", False, "at the last checkpoint"),
    MEAN: ("o", True, "mean over checkpoints"),
    TRAINING: ("D", True, "of the course of training"),
}
SCORE_NAMES = tuple(dict.fromkeys(name for name, _ in SCORES))
_SHOWN = {"el2n": "EL2N", "forgetting": "forgetting events", "second_split": "second-split forgetting"}
_COLORS, _LIGHTEST, _SPREAD = "viridis", 0.8, 0.5  # of the noise levels, and how far apart they lie within a row


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """A row of panels per network, a column per way to change labels: AUROC of every score, a colour per noise level.

    Circles are open at the last checkpoint and filled for the mean over checkpoints, diamonds stand for scores of the
    whole course. Points are means over seeds, bars their t intervals. At 0.5 a score says nothing of the labels.

    Args:
        tables: with the tidy table label_errors.
        style: the figures' shared settings.
    """
    table = tables["label_errors"]
    lost = table["diverged"].astype(bool)
    rows = table[~lost]
    if rows.empty:
        return message_figure("Every run of this study whose examples were scored diverged.")
    run = ["dataset", "model", "labels", "optimizer", "seed"]
    of_networks, schemes = networks(rows), in_order(rows["scheme"], [])
    levels = sorted(rows["noise"].unique())
    shades = map(mpl.colors.to_hex, mpl.colormaps[_COLORS](np.linspace(0, _LIGHTEST, len(levels))))
    colors = dict(zip(levels, shades, strict=True))
    figure, grid = panel_grid(len(of_networks), len(schemes), row_height=3.4)
    seeds: list[int] = []
    for network, panels in zip(of_networks, grid, strict=True):
        for axes, scheme in zip(panels, schemes, strict=True):
            panel = of_network(rows, network)
            seeds += _draw_panel(axes, panel[panel["scheme"] == scheme], colors, style)
        row_title(panels[-1], ", ".join(map(readable, network)))
    column_titles(grid, [readable(scheme) for scheme in schemes])
    label_below(grid, "AUROC of wrong labels")
    legend_below(figure, _handles(colors, style, seeds, table[lost].groupby(run).ngroups))
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, colors: dict[float, str], style: FigureStyle) -> list[int]:
    """The AUROCs of one network and scheme; how many seeds each mean is of."""
    axes.axvline(0.5, color=NEUTRAL, linewidth=0.8, zorder=1)
    axes.set_xlim(-0.02, 1.02)
    axes.set_yticks(range(len(SCORE_NAMES)), [_SHOWN.get(name, readable(name)) for name in SCORE_NAMES])
    axes.set_ylim(len(SCORE_NAMES) - 0.4, -0.6)
    if rows.empty:
        say_not_run(axes)
        return []
    summary = over_seeds(rows, ["optimizer", "noise", "ranked_by", "over"], "auroc", style.confidence)
    offsets = np.linspace(-_SPREAD, _SPREAD, 2 * len(colors) + 1)[1::2]
    for (noise, color), offset in zip(colors.items(), offsets, strict=True):
        for over, (marker, filled, _) in MARKERS.items():
            points = summary[(summary["noise"] == noise) & (summary["over"] == over)]
            bars = axes.errorbar(
                points["mean"],
                [SCORE_NAMES.index(score) + offset for score in points["ranked_by"]],
                xerr=points["half_width"].fillna(0.0),
                linestyle="none",
                marker=marker,
                markersize=3.5,
                markerfacecolor=color if filled else "white",
                color=color,
                elinewidth=0.8,
                label=f"{noise:g} {over}",
            )
            bars.lines[0].set_zorder(3)
    return list(summary["seeds"])


def _handles(colors: dict[float, str], style: FigureStyle, seeds: list[int], num_lost: int) -> list[Artist]:
    """The legend's entries: noise levels, what is averaged, intervals, and what is left out."""
    noise: list[Artist] = [
        Line2D([], [], color=color, marker="s", linestyle="none", label=f"{100 * level:g}% of the labels")
        for level, color in colors.items()
    ]
    over = [
        Line2D([], [], color=NEUTRAL, marker=marker, linestyle="none", label=name, markerfacecolor=face)
        for marker, filled, name in MARKERS.values()
        for face in [NEUTRAL if filled else "white"]
    ]
    left_out = [text_handle(f"left out: {num_lost} run(s) that diverged")] if num_lost else []
    return [*noise, *over, bars_handle(style, seeds), *left_out]
