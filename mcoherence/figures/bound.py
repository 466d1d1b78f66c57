"""The bound on the generalisation gap, relative to that of incoherent gradients, beside the measured gap."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcoherence.figures.axes import step_axis
from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import band_handle, legend_below, look_handles, lost_handles
from mcoherence.figures.panels import label_below, message_figure, network_title, panel_grid, row_title
from mcoherence.figures.reading import Tables, full_set_runs, label_sets, networks, nothing_drawn, of_network, runs_lost
from mcoherence.figures.style import NEUTRAL, FigureStyle, LineLook, looks, readable, theme


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Relative bound and measured gap against the step: rows networks with optimiser, lines label sets.

    A column for each assumed smoothness, and the last one for test minus training loss. Lines are means over seeds,
    bands their t intervals.
    Source: arXiv 2203.10036, the bound; that it is drawn along training is this project's.

    Args:
        tables: with the tidy table bound.
        style: the figures' shared settings.
    """
    table = tables["bound"]
    rows = full_set_runs(table)
    if rows["relative_bound"].isna().all():
        nothing = "This study has no runs of plain SGD, the only optimiser that the bound is proven for."
        return message_figure(nothing_drawn(rows, nothing))
    label_looks = looks(label_sets(table))
    assumed = sorted(rows["beta_times_lr"].unique())
    by = ["dataset", "model", "optimizer", "labels", "step"]
    places = [(network, name) for network in networks(rows) for name in of_network(rows, network)["optimizer"].unique()]
    bounds = over_seeds(rows, ["beta_times_lr", *by], "relative_bound", style.confidence)
    gaps = over_seeds(rows[rows["beta_times_lr"] == assumed[0]], by, "gap", style.confidence)
    figure, grid = panel_grid(len(places), len(assumed) + 1, row_height=1.9, sharey=False)
    for (network, optimizer), panels in zip(places, grid, strict=True):
        for value, axes in zip(assumed, panels, strict=False):
            chosen = of_network(bounds[bounds["beta_times_lr"] == value], network)
            _draw_panel(axes, chosen[chosen["optimizer"] == optimizer], style.color(optimizer), label_looks)
            axes.sharey(panels[0])
            axes.tick_params(labelleft=axes is panels[0])
        chosen = of_network(gaps, network)
        panels[-1].axhline(0, color=NEUTRAL, linewidth=0.7, zorder=1)
        _draw_panel(panels[-1], chosen[chosen["optimizer"] == optimizer], style.color(optimizer), label_looks)
        panels[0].set_ylabel("bound / bound of\nincoherent gradients")
        panels[-1].set_ylabel("test − train loss")
        row_title(panels[-1], f"{network_title(network, networks(rows))}, {readable(optimizer)}")
        for axes in panels:
            step_axis(axes, rows["step"].max(), len(panels))
    for axes, value in zip(grid[0], assumed, strict=False):
        axes.set_title(rf"bound, $\beta\,\mathrm{{lr}}$ = {value:g}", fontweight="bold")
    grid[0, -1].set_title("measured gap", fontweight="bold")
    label_below(grid, "training step")
    drawn = {name: look for name, look in label_looks.items() if (gaps["labels"] == name).any()}
    handles = [*look_handles(drawn), band_handle(style, list(gaps["seeds"]))]
    legend_below(figure, [*handles, *lost_handles(runs_lost(rows))])
    return figure


def _draw_panel(axes: Axes, panel: pd.DataFrame, color: str, label_looks: dict[str, LineLook]) -> None:
    for labels, look in label_looks.items():
        line = panel[panel["labels"] == labels].sort_values("step")
        if not line.empty:
            draw_line_with_band(axes, line["step"], line, color, look, labels)
