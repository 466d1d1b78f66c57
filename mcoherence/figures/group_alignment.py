"""How the gradient sums of pristine, corrupt and held-out examples lie to each other, for partly random label sets."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcoherence.figures.axes import alignment_axis, step_axis
from mcoherence.figures.combinations import name_combinations
from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import band_handle, legend_below, look_handles, lost_handles
from mcoherence.figures.panels import (
    label_below,
    message_figure,
    network_title,
    panel_grid,
    row_label,
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
    runs_lost,
    why_empty,
)
from mcoherence.figures.style import NEUTRAL, FigureStyle, looks, readable, theme
from mcoherence.tables.columns import WHOLE_NETWORK
from mcoherence.tables.rows import partly_random

PAIRS = {
    "pristine and held-out": ("pristine", "heldout"),
    "pristine and corrupt": ("pristine", "corrupt"),
    "corrupt and held-out": ("corrupt", "heldout"),
}
QUANTITIES = {"cosine": "cosine of the\ngroups' sums", "cross_alignment": "mean alignment of\ntwo examples (size-free)"}


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Cosine and mean alignment of each pair of groups against the step: columns optimisers, two rows per label set.

    Lines are means over seeds, bands their t intervals.
    Source: arXiv 2002.10657 on how pristine and corrupt examples share the gradient; these measures are ours.

    Args:
        tables: with the tidy table group_alignment.
        style: the figures' shared settings.
    """
    rows = full_set_runs(tables["group_alignment"])
    rows = rows.assign(pair=_pair_names(rows))
    rows = partly_random(rows)
    rows = rows[(rows["layer"] == WHOLE_NETWORK) & rows["pair"].notna()]
    if rows["cosine"].isna().all():
        nothing = "This study has no runs with partly random labels, so no pristine and corrupt examples."
        return message_figure(nothing_drawn(rows, nothing))
    optimizers = in_order(rows["optimizer"], [style.reference_optimizer])
    all_networks = networks(rows)
    row_keys = [(network, name) for network in all_networks for name in label_sets(of_network(rows, network))]
    by = ["dataset", "model", "labels", "optimizer", "pair", "step"]
    summaries = {quantity: over_seeds(rows, by, quantity, style.confidence) for quantity in QUANTITIES}
    figure, grid = panel_grid(2 * len(row_keys), len(optimizers), row_height=1.8)
    for row, panels in enumerate(grid):
        (network, labels), quantity = row_keys[row // 2], list(QUANTITIES)[row % 2]
        summary = summaries[quantity]
        for optimizer, axes in zip(optimizers, panels, strict=True):
            panel, observed = (
                of_network(of[(of["optimizer"] == optimizer) & (of["labels"] == labels)], network)
                for of in (summary, rows)
            )
            _draw_panel(axes, panel, quantity, style.color(optimizer))
            if panel.empty:
                say_not_run(axes, why_empty(observed))
            step_axis(axes, rows["step"].max(), len(optimizers))
        row_label(panels[0], QUANTITIES[quantity])
    label_below(grid, "training step")
    titles = [f"{network_title(network, all_networks)}\n{readable(labels)}" for network, labels in row_keys]
    colors = [style.color(name) for name in optimizers]
    name_combinations(grid, titles, [readable(name) for name in optimizers], colors, stacked=2)
    drawn = set(summaries["cosine"]["pair"])
    shown = {pair: look for pair, look in looks(list(PAIRS)).items() if pair in drawn}
    handles = [*look_handles(shown), band_handle(style, list(summaries["cosine"]["seeds"]))]
    legend_below(figure, [*handles, *lost_handles(runs_lost(rows))])
    return figure


def _pair_names(table: pd.DataFrame) -> pd.Series:
    """The pair that each row is of, by its name in PAIRS; None for other pairs."""
    names = {frozenset(pair): name for name, pair in PAIRS.items()}
    pairs = [names.get(frozenset(pair)) for pair in zip(table["group_a"], table["group_b"], strict=True)]
    return pd.Series(pairs, index=table.index, dtype=object)


def _draw_panel(axes: Axes, panel: pd.DataFrame, quantity: str, color: str) -> None:
    """The lines of one optimiser, label set and quantity: every pair of groups."""
    if quantity == "cosine":
        axes.set_ylim(-1.05, 1.05)
    else:
        alignment_axis(axes)
    axes.axhline(0, color=NEUTRAL, linewidth=0.7, zorder=1)
    for pair, look in looks(list(PAIRS)).items():
        line = panel[panel["pair"] == pair]
        if not line.empty:
            draw_line_with_band(axes, line["step"], line, color, look, pair)
