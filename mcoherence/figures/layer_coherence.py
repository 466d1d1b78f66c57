"""m-coherence of each layer against the step, for each model and label set, under the reference optimiser."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcoherence.figures.axes import log_axis, orthogonal_limit, step_axis
from mcoherence.figures.intervals import draw_line_with_band, not_positive, over_seeds
from mcoherence.figures.legends import coherence_handles, legend_below
from mcoherence.figures.panels import message_figure, network_title, panel_grid
from mcoherence.figures.reading import Network, Tables, full_set_runs, in_order, label_sets, networks, of_network
from mcoherence.figures.style import FigureStyle, looks, readable, theme
from mcoherence.tables.columns import TRAIN_GROUP, WHOLE_NETWORK

_MOST_COLUMNS = 6  # narrower panels could not hold their tick labels


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Each layer's m-coherence against the step: a panel per layer in network order, a row or more per model.

    Lines are geometric means over seeds, bands their t intervals worked on logarithms. All panels share both
    axes, so that layers can be compared.
    Source: arXiv 2008.01217, m-coherence of single layers; arXiv 2203.10036 on looking layer by layer.

    Args:
        tables: with the tidy table coherence.
        style: the figures' shared settings; only runs of its reference optimiser are drawn.
    """
    table = tables["coherence"]
    rows = full_set_runs(table)
    rows = rows[(rows["group"] == TRAIN_GROUP) & (rows["layer"] != WHOLE_NETWORK) & rows["m_coherence"].notna()]
    rows = rows[rows["optimizer"] == style.reference_optimizer]
    if rows.empty:
        optimizer = readable(style.reference_optimizer)
        return message_figure(f"This study measured no m-coherence of single layers under {optimizer}.")
    all_networks = networks(rows)
    layers = {network: in_order(of_network(rows, network)["layer"], []) for network in all_networks}
    label_looks = looks(label_sets(table))
    summary = over_seeds(
        rows,
        ["dataset", "model", "layer", "labels", "step"],
        "m_coherence",
        style.confidence,
        logarithmic=True,
    )
    columns = min(max(len(names) for names in layers.values()), _MOST_COLUMNS)
    figure, panels = _panels(layers, columns)
    color = style.color(style.reference_optimizer)
    figure.suptitle(readable(style.reference_optimizer), color=color, fontweight="bold")
    for (network, layer), axes in panels.items():
        panel = of_network(summary[summary["layer"] == layer], network)
        orthogonal_limit(axes)
        for labels, look in label_looks.items():
            line = panel[panel["labels"] == labels]
            if not line.empty:
                draw_line_with_band(axes, line["step"], line, color, look, labels)
    _same_axes(list(panels.values()))
    for axes in panels.values():
        log_axis(axes)
        step_axis(axes, rows["step"].max(), columns)
    shown = {name: look for name, look in label_looks.items() if (summary["labels"] == name).any()}
    legend_below(figure, coherence_handles(style, shown, list(summary["seeds"]), not_positive(rows["m_coherence"])))
    return figure


def _same_axes(panels: Sequence[Axes]) -> None:
    """Give all panels one logarithmic range, that of all of them.

    Not by matplotlib's sharing, whose every look at a limit asks all the panels: of 160 layers that took minutes.
    """
    for axes in panels:
        axes.set_yscale("log")
    limits = np.array([axes.get_ylim() for axes in panels])
    for axes in panels:
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())


def _panels(layers: dict[Network, list[str]], columns: int) -> tuple[Figure, dict[tuple[Network, str], Axes]]:
    """A titled panel per network and layer; many layers go on in further rows, unused places stay blank."""
    figure, grid = panel_grid(
        sum(math.ceil(len(names) / columns) for names in layers.values()),
        columns,
        row_height=1.6,
        sharey=False,
        sharex=False,
    )
    panels: dict[tuple[Network, str], Axes] = {}
    row = 0
    for network, names in layers.items():
        for position, layer in enumerate(names):
            axes = grid[row + position // columns, position % columns]
            axes.set_title(readable(layer), parse_math=False)
            # Nothing may be below in the same column, so that every panel without one below shows its steps.
            lowest, leftmost = position + columns >= len(names), position % columns == 0
            axes.tick_params(labelbottom=lowest, labelleft=leftmost)
            if lowest:
                axes.set_xlabel("step")
            if leftmost:
                axes.set_ylabel(f"{network_title(network, list(layers))}\nm-coherence")
            panels[network, layer] = axes
        used = math.ceil(len(names) / columns)
        for position in range(len(names), used * columns):
            grid[row + position // columns, position % columns].set_axis_off()
        row += used
    return figure, panels
