"""Gradient coherence within easy, hard and random examples and across them, along training on everything or on one."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcoherence.data.subsets import SUBSETS
from mcoherence.figures.axes import log_axis, step_axis
from mcoherence.figures.intervals import draw_line_with_band, not_positive, over_seeds
from mcoherence.figures.legends import band_handle, legend_below, lost_handles, text_handle
from mcoherence.figures.panels import column_titles, label_below, message_figure, network_title, panel_grid, row_title
from mcoherence.figures.reading import Tables, in_order, networks, nothing_drawn, of_network, runs_lost
from mcoherence.figures.style import NEUTRAL, FigureStyle, LineLook, theme
from mcoherence.study.result_names import FULL, difficulty_group

COLORS = {"easy": "#56B4E9", "hard": "#D55E00", "random": "#404040"}  # whose gradients
DASHES: dict[str, tuple[float, ...]] = {"easy": (), "hard": (4.5, 1.6), "random": (1.2, 1.2)}  # whose step
COLUMNS = ("m-coherence within", "does a step help?")


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """m-coherence of easy, hard and random examples, and whether a step along some helps others; rows: training sets.

    Left: examples that are trained on where the run trains on everything, held-out ones where it trains on one subset;
    groups of one panel have the same size. Right: cosine between the mean gradient of the easy or the hard examples
    (everything) or of those trained on (a subset), by dashes, and that of other examples of each subset, by colour.
    Lines are means over seeds (geometric on the left), bands their t intervals.
    Source: implied by the reasoning of arXiv 2003.07422 and 2203.10036 on easy and hard examples; no published numbers.

    Args:
        tables: with the tidy table difficulty_coherence.
        style: the figures' shared settings.
    """
    table = tables["difficulty_coherence"]
    rows = table if table.empty else table[table["cosine"].notna()]
    if rows.empty:
        return message_figure(nothing_drawn(table, "This study measured no gradients of easy and hard examples."))
    all_networks = networks(rows)
    keys = [
        (network, subset)
        for network in all_networks
        for subset in in_order(of_network(rows, network)["subset"], (FULL, *SUBSETS))
    ]
    figure, grid = panel_grid(len(keys), 2, row_height=1.75, sharey=False)
    seeds: list[int] = []
    for (network, subset), (within, across) in zip(keys, grid, strict=True):
        own = of_network(rows, network)
        own = own[own["subset"] == subset]
        seeds += _draw_within(within, own, "train" if subset == FULL else "test", style)
        seeds += _draw_across(across, own, ("easy", "hard") if subset == FULL else (subset,), style)
        for axes in (within, across):
            step_axis(axes, rows["step"].max(), 2)
        trained = "everything" if subset == FULL else f"{subset} examples"
        name = f"{network_title(network, all_networks)}\n" if len(all_networks) > 1 else ""
        row_title(across, f"{name}trained on\n{trained}")
    column_titles(grid, COLUMNS)
    for axes in grid[:, 1]:
        axes.set_ylim(-1.05, 1.05)
    label_below(grid, "training step")
    for column in grid.T:
        figure.align_ylabels(list(column))
    handles = [Line2D([], [], color=color, label=f"{name} examples") for name, color in COLORS.items()]
    handles += [
        Line2D([], [], color=NEUTRAL, linestyle=(0, dashes), label=f"step along {name} ones")
        for name, dashes in DASHES.items()
    ]
    hidden = not_positive(rows["m_coherence"])
    remark = [text_handle(f"not shown: {hidden} value(s) that are not positive")] if hidden else []
    legend_below(figure, [*handles, band_handle(style, seeds), *remark, *lost_handles(runs_lost(table))])
    return figure


def _draw_within(axes: Axes, rows: pd.DataFrame, part: str, style: FigureStyle) -> list[int]:
    """m-coherence of each subset's train or test part; returns how many seeds each mean is of."""
    chosen = rows[(rows["group"] == rows["other"]) & rows["group"].str.endswith(part)]
    summary = over_seeds(chosen, ["group", "step"], "m_coherence", style.confidence, logarithmic=True)
    for name, color in COLORS.items():
        line = summary[summary["group"] == difficulty_group(name, part)]
        draw_line_with_band(axes, line["step"], line, color, LineLook((0, ())), name)
    axes.axhline(1, color=NEUTRAL, linewidth=0.7, zorder=1)
    log_axis(axes)
    sizes = sorted({int(n) for n in chosen["n"]})
    kind = "" if part == "train" else "held-out, "
    axes.set_ylabel(f"m-coherence\n({kind}m = {', '.join(map(str, sizes))})")
    return list(summary["seeds"])


def _draw_across(axes: Axes, rows: pd.DataFrame, along: tuple[str, ...], style: FigureStyle) -> list[int]:
    """Cosines of the train part of each of `along` with the test parts; returns how many seeds each mean is of."""
    seeds: list[int] = []
    axes.axhline(0, color=NEUTRAL, linewidth=0.7, zorder=1)
    for source in along:
        for name, color in COLORS.items():
            pair = {difficulty_group(source, "train"), difficulty_group(name, "test")}
            chosen = rows[rows["group"].isin(pair) & rows["other"].isin(pair) & (rows["group"] != rows["other"])]
            summary = over_seeds(chosen, ["step"], "cosine", style.confidence)
            draw_line_with_band(
                axes, summary["step"], summary, color, LineLook((0, DASHES[source])), f"{source} to {name}"
            )
            seeds += list(summary["seeds"])
    axes.set_ylabel("cosine of mean\ngradients")
    return seeds
