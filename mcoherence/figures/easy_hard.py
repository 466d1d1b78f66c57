"""Accuracy of networks trained on easy, hard and random subsets, on the test parts of each, as heat maps."""

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mcoherence.figures.intervals import over_seeds
from mcoherence.figures.legends import lost_handles
from mcoherence.figures.panels import message_figure, network_title, panel_grid, panel_title, say_not_run
from mcoherence.figures.reading import Tables, in_order, networks, nothing_drawn, of_network, runs_lost, why_empty
from mcoherence.figures.style import TEXT_SIZE, FigureStyle, readable, theme

_SUBSETS = ("easy", "hard", "random", "original")
_COLORS = "cividis"
_MOST_COLUMNS = 2


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Final accuracy by training subset (down) and test subset (along), a heat map per model.

    A cell gives the mean over seeds and half the width of its t interval, in percent.
    Source: arXiv 2003.07422, training and testing on easy and hard examples.

    Args:
        tables: with the tidy table easy_hard.
        style: the figures' shared settings.
    """
    table = tables["easy_hard"]
    rows = table if table.empty else table[table["accuracy"].notna()]  # an empty table may have no columns
    if rows.empty:
        return message_figure(nothing_drawn(table, "This study trained no networks on easy and hard subsets."))
    rows = rows.assign(accuracy=100 * rows["accuracy"])
    all_networks = networks(table)
    train = in_order(table["train_subset"], _SUBSETS)
    test = in_order(table["test_subset"], _SUBSETS)
    summary = over_seeds(rows, ["dataset", "model", "train_subset", "test_subset"], "accuracy", style.confidence)
    columns = min(len(all_networks), _MOST_COLUMNS)
    figure, grid = panel_grid(
        -(-len(all_networks) // columns), columns, row_height=0.55 * len(train) + 0.6, sharey=True
    )
    scale = Normalize(summary["mean"].min(), summary["mean"].max())
    for network, axes in zip(all_networks, grid.flat, strict=False):
        own = of_network(summary, network)
        if own.empty:
            say_not_run(axes, why_empty(of_network(table, network)))
        else:
            _draw_panel(axes, own, train, test, scale)
        panel_title(axes, network_title(network, all_networks), columns)
    for axes in grid.flat[len(all_networks) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("trained on")
    bar = figure.colorbar(ScalarMappable(scale, _COLORS), ax=list(grid.flat), fraction=0.04, pad=0.02)
    bar.set_label("accuracy (%)")
    bar.outline.set_visible(False)
    lost = [str(handle.get_label()) for handle in lost_handles(runs_lost(table), shown_until=False)]
    figure.suptitle("; ".join([_note(summary, style), *lost]), fontsize=TEXT_SIZE)
    return figure


def _draw_panel(axes: Axes, summary: pd.DataFrame, train: list[str], test: list[str], scale: Normalize) -> None:
    """The heat map of one network; combinations that were not run stay blank."""
    cells = summary.assign(text=[_cell(*cell) for cell in zip(summary["mean"], summary["half_width"], strict=True)])
    mean, annotation = (
        cells.pivot(index="train_subset", columns="test_subset", values=value).reindex(index=train, columns=test)
        for value in ("mean", "text")
    )
    sns.heatmap(
        mean.astype(float),
        annot=annotation.fillna(""),
        fmt="",
        cmap=_COLORS,
        norm=scale,
        cbar=False,
        linewidths=1.5,
        linecolor="white",
        ax=axes,
        xticklabels=[readable(name) for name in test],
        yticklabels=[readable(name) for name in train],
    )
    for text, value in zip(axes.texts, mean.to_numpy(float)[mean.notna().to_numpy()], strict=True):
        text.set_color(_readable_on(matplotlib.colormaps[_COLORS](scale(value))))
    axes.tick_params(length=0, labelbottom=True, labelrotation=0)
    axes.set(xlabel="tested on", ylabel="")


def _readable_on(background: tuple[float, float, float, float]) -> str:
    """Black or white, whichever has the higher contrast (WCAG 2) on the background."""
    return "black" if sns.utils.relative_luminance(background) > 0.179 else "white"


def _cell(mean: float, half_width: float) -> str:
    """A cell's text: the mean, and half the width of its interval where it has one."""
    return f"{mean:.1f}" if np.isnan(half_width) else f"{mean:.1f}\n± {half_width:.1f}"


def _note(summary: pd.DataFrame, style: FigureStyle) -> str:
    """What the numbers are."""
    fewest, most = summary["seeds"].min(), summary["seeds"].max()
    if most == 1:
        return "accuracy of one seed, no interval"
    count = str(most) if fewest == most else f"{fewest} to {most}"
    return f"mean over {count} seeds ± half the width of its {style.percent} interval"
