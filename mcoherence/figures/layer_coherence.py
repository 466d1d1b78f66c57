"""m-coherence of each layer against the step, for each model and label set, under the reference optimiser."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcoherence.figures.axes import log_axis, orthogonal_limit, step_axis
from mcoherence.figures.intervals import draw_line_with_band, not_positive, over_seeds
from mcoherence.figures.legends import coherence_handles, legend_below, lost_handles
from mcoherence.figures.panels import letters_across, message_figure, network_title, panel_grid, row_label, say_not_run
from mcoherence.figures.reading import (
    Network,
    Tables,
    full_set_runs,
    in_order,
    label_sets,
    networks,
    nothing_drawn,
    of_network,
    runs_lost,
    why_empty,
)
from mcoherence.figures.style import TEXT_SIZE, FigureStyle, looks, readable, theme
from mcoherence.tables.columns import TRAIN_GROUP, WHOLE_NETWORK

_MOST_COLUMNS = 6  # narrower panels could not hold their tick labels
_LINE = 0.13  # inches of a further line of a title


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
    rows = rows[(rows["group"] == TRAIN_GROUP) & (rows["layer"] != WHOLE_NETWORK)]
    rows = rows[rows["optimizer"] == style.reference_optimizer]
    if rows["m_coherence"].isna().all():
        optimizer = readable(style.reference_optimizer)
        nothing = f"This study measured no m-coherence of single layers under {optimizer}."
        return message_figure(nothing_drawn(rows, nothing))
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
        if panel.empty:
            say_not_run(axes, why_empty(of_network(rows[rows["layer"] == layer], network)))
    _same_axes(list(panels.values()))
    for axes in panels.values():
        log_axis(axes)
        step_axis(axes, rows["step"].max(), columns)
    shown = {name: look for name, look in label_looks.items() if (summary["labels"] == name).any()}
    handles = coherence_handles(style, shown, list(summary["seeds"]), not_positive(rows["m_coherence"]))
    legend_below(figure, [*handles, *lost_handles(runs_lost(rows))])
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


def _breakable(layer: str, columns: int) -> str:
    """A layer's name on as many lines as a panel's width asks for, of so many side by side; it breaks after dots."""
    letters = letters_across(columns)
    parts = [
        piece for part in readable(layer).replace(".", ".\0").split("\0") for piece in textwrap.wrap(part, letters)
    ]
    lines = parts[:1]
    for part in parts[1:]:
        joint = "" if lines[-1].endswith(".") else " "
        if len(lines[-1] + joint + part) <= letters:
            lines[-1] += joint + part
        else:
            lines.append(part)
    return "\n".join(lines)


def _panels(layers: dict[Network, list[str]], columns: int) -> tuple[Figure, dict[tuple[Network, str], Axes]]:
    """A titled panel per network and layer; many layers go on in further rows, unused places stay blank."""
    rows = sum(math.ceil(len(names) / columns) for names in layers.values())
    figure, grid = panel_grid(rows, columns, row_height=1.6, sharey=False, sharex=False)
    lines = max(_breakable(name, columns).count("\n") for names in layers.values() for name in names)
    figure.set_figheight(figure.get_figheight() + rows * lines * _LINE)
    panels: dict[tuple[Network, str], Axes] = {}
    row = 0
    for network, names in layers.items():
        for position, layer in enumerate(names):
            axes = grid[row + position // columns, position % columns]
            axes.set_title(_breakable(layer, columns), fontsize=TEXT_SIZE, parse_math=False)
            # Nothing may be below in the same column, so that every panel without one below shows its steps.
            lowest, leftmost = position + columns >= len(names), position % columns == 0
            axes.tick_params(labelbottom=lowest, labelleft=leftmost)
            if lowest:
                axes.set_xlabel("step")
            if leftmost:
                row_label(axes, f"{network_title(network, list(layers))}\nm-coherence")
            panels[network, layer] = axes
        used = math.ceil(len(names) / columns)
        for position in range(len(names), used * columns):
            grid[row + position // columns, position % columns].set_axis_off()
        row += used
    return figure, panels
