"""Gradient alignment within pristine, corrupt and held-out examples, for partly random label sets."""

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

GROUPS = ("pristine", "heldout", "corrupt")


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Pairwise alignment within each group against the step: rows models and label sets, columns optimisers.

    The groups differ in size and m-coherence grows with it, so what is drawn is the mean inner product of two
    different examples over the mean squared norm, which does not. Lines are means over seeds, bands their t
    intervals.
    Source: arXiv 2002.10657 on how pristine and corrupt examples share the gradient; this measure is ours.

    Args:
        tables: with the tidy table coherence.
        style: the figures' shared settings.
    """
    rows = full_set_runs(tables["coherence"])
    rows = partly_random(rows)
    rows = rows[(rows["layer"] == WHOLE_NETWORK) & rows["group"].isin(GROUPS)]
    if rows["pairwise_alignment"].isna().all():
        nothing = "This study has no runs with partly random labels, so no pristine and corrupt examples."
        return message_figure(nothing_drawn(rows, nothing))
    optimizers = in_order(rows["optimizer"], [style.reference_optimizer])
    all_networks = networks(rows)
    row_keys = [(network, name) for network in all_networks for name in label_sets(of_network(rows, network))]
    by = ["dataset", "model", "labels", "optimizer", "group", "step"]
    summary = over_seeds(rows, by, "pairwise_alignment", style.confidence)
    group_looks = {name: look for name, look in looks(GROUPS).items() if (summary["group"] == name).any()}
    figure, grid = panel_grid(len(row_keys), len(optimizers), row_height=2.0)
    for (network, labels), panels in zip(row_keys, grid, strict=True):
        for optimizer, axes in zip(optimizers, panels, strict=True):
            chosen = (summary["optimizer"] == optimizer) & (summary["labels"] == labels)
            panel = of_network(summary[chosen], network)
            alignment_axis(axes)
            axes.axhline(0, color=NEUTRAL, linewidth=0.7, zorder=1)
            for group, look in group_looks.items():
                line = panel[panel["group"] == group]
                if not line.empty:
                    draw_line_with_band(axes, line["step"], line, style.color(optimizer), look, group)
            if panel.empty:
                observed = (rows["optimizer"] == optimizer) & (rows["labels"] == labels)
                say_not_run(axes, why_empty(of_network(rows[observed], network)))
            step_axis(axes, rows["step"].max(), len(optimizers))
        row_label(panels[0], "mean alignment of\ntwo examples (size-free)")
    label_below(grid, "training step")
    titles = [f"{network_title(network, all_networks)}\n{readable(labels)}" for network, labels in row_keys]
    name_combinations(grid, titles, [readable(name) for name in optimizers], [style.color(name) for name in optimizers])
    handles = [*look_handles(group_looks), band_handle(style, list(summary["seeds"]))]
    legend_below(figure, [*handles, *lost_handles(runs_lost(rows))])
    return figure
