"""Accuracy from fresh weights and from weights that had fitted other labels, for each network."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcoherence.figures.axes import step_axis
from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import band_handle, legend_below, lost_handles
from mcoherence.figures.panels import column_titles, label_below, message_figure, network_title, panel_grid, row_title
from mcoherence.figures.reading import Tables, networks, nothing_drawn, of_network, runs_lost
from mcoherence.figures.style import FigureStyle, looks, theme

_PARTS = {"test": "test set", "easy": "easy training examples", "hard": "hard training examples"}
_STARTS = {"fresh": ("random start", "#0072B2"), "adversarial": ("adversarial start", "#D55E00")}


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Accuracy against the step from either start: rows networks, columns the test set, easy and hard examples.

    Lines are means over seeds, bands their t intervals. Easy and hard is what runs from fresh weights learn early and
    late. Source: arXiv 2003.07422 and 2203.10036, adversarial initialisation; their results were not published.

    Args:
        tables: with the tidy table adversarial_start.
        style: the figures' shared settings.
    """
    table = tables["adversarial_start"]
    rows = table[table["part"].isin(list(_PARTS)) & table["accuracy"].notna()]
    if rows.empty:
        return message_figure(nothing_drawn(table, "This study made no adversarial start."))
    rows = rows.assign(accuracy=100 * rows["accuracy"])
    all_networks = networks(rows)
    look_of = dict(zip(_STARTS, looks(list(_STARTS)).values(), strict=True))
    summary = over_seeds(rows, ["dataset", "model", "start", "part", "step"], "accuracy", style.confidence)
    figure, grid = panel_grid(len(all_networks), len(_PARTS), row_height=1.9)
    for network, panels in zip(all_networks, grid, strict=True):
        for part, axes in zip(_PARTS, panels, strict=True):
            panel = of_network(summary[summary["part"] == part], network)
            for start, (label, color) in _STARTS.items():
                line = panel[panel["start"] == start]
                draw_line_with_band(axes, line["step"], line, color, look_of[start], label)
            step_axis(axes, rows["step"].max(), len(_PARTS))
        row_title(panels[-1], network_title(network, all_networks))
        panels[0].set_ylabel("accuracy (%)")
        panels[0].set_ylim(-3, 103)  # the row shares its axis
    column_titles(grid, list(_PARTS.values()))
    label_below(grid, "training step")
    lines = [
        Line2D([], [], color=color, linestyle=look_of[start].linestyle, linewidth=1.6, label=label)
        for start, (label, color) in _STARTS.items()
    ]
    lost = sum(runs_lost(table[table["start"] == start]) for start in _STARTS)
    legend_below(figure, [*lines, band_handle(style, list(summary["seeds"])), *lost_handles(lost)])
    return figure
