"""Alpha and the mean alignment of two examples along training: scales that do not depend on the sample's size."""

from matplotlib.figure import Figure

from mcoherence.figures.axes import alignment_axis, log_axis, step_axis
from mcoherence.figures.coherence_panels import draw_lines, draw_null_bands
from mcoherence.figures.combinations import name_combinations
from mcoherence.figures.intervals import not_positive, of_single_runs, over_seeds
from mcoherence.figures.legends import band_handle, legend_below, look_handles, lost_handles, null_handle, text_handle
from mcoherence.figures.panels import (
    label_below,
    message_figure,
    network_title,
    panel_grid,
    row_label,
)
from mcoherence.figures.reading import (
    Tables,
    in_order,
    label_sets,
    networks,
    nothing_drawn,
    of_network,
    rows_of_redrawn_labels,
    rows_of_training_sample,
    runs_lost,
)
from mcoherence.figures.style import NEUTRAL, FigureStyle, looks, readable, theme

QUANTITIES = {"alpha": "alpha\n(share of the sample)", "pairwise_alignment": "mean alignment of\ntwo examples"}


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Alpha and mean pairwise alignment against the step: columns optimisers, two rows per network.

    Of alpha, on a logarithmic axis, lines are geometric means over seeds, of alignment arithmetic ones; bands are their
    t intervals. Grey is where single runs with redrawn labels would lie.
    Source: alpha of arXiv 2203.10036; the alignment of two different examples is this project's own measure.

    Args:
        tables: with the tidy table coherence.
        style: the figures' shared settings.
    """
    table = tables["coherence"]
    rows, redrawn = rows_of_training_sample(table), rows_of_redrawn_labels(table)
    if rows["alpha"].isna().all():
        nothing = "This study measured no alpha of the whole network on the full training set."
        return message_figure(nothing_drawn(rows, nothing))
    label_looks, all_networks = looks(label_sets(table)), networks(rows)
    optimizers = in_order(rows["optimizer"], [style.reference_optimizer])
    row_keys = [(network, quantity) for network in all_networks for quantity in QUANTITIES]
    figure, grid = panel_grid(len(row_keys), len(optimizers), row_height=1.8)
    by = ["dataset", "model", "optimizer", "labels", "step"]
    seeds: list[int] = []
    of_null: list[int] = []
    for (network, quantity), panels in zip(row_keys, grid, strict=True):
        logarithmic = quantity == "alpha"
        summary = over_seeds(of_network(rows, network), by, quantity, style.confidence, logarithmic)
        null = over_seeds(of_network(redrawn, network), by, quantity, style.confidence, logarithmic)
        null = of_single_runs(null, logarithmic)
        seeds += list(summary["seeds"])
        of_null += list(null["seeds"])
        for optimizer, axes in zip(optimizers, panels, strict=True):
            if not logarithmic:
                alignment_axis(axes)
                axes.axhline(0, color=NEUTRAL, linewidth=0.7, zorder=1)
            draw_null_bands(axes, null[null["optimizer"] == optimizer], "step", label_looks)
            panel, observed = (of[of["optimizer"] == optimizer] for of in (summary, of_network(rows, network)))
            draw_lines(axes, panel, "step", style.color(optimizer), label_looks, observed)
            step_axis(axes, rows["step"].max(), len(optimizers))
        row_label(panels[0], QUANTITIES[quantity])
        for axes in panels if logarithmic else ():
            log_axis(axes)
    label_below(grid, "training step")
    titles = [network_title(network, all_networks) for network in all_networks]
    colors = [style.color(name) for name in optimizers]
    name_combinations(grid, titles, [readable(name) for name in optimizers], colors, stacked=len(QUANTITIES))
    drawn = set(rows.loc[rows["alpha"].notna(), "labels"])
    shown = {name: look for name, look in label_looks.items() if name in drawn}
    handles = [*look_handles(shown), band_handle(style, seeds)]
    if not redrawn.empty:
        handles.append(null_handle(style, of_null))
    if hidden := not_positive(rows["alpha"]):
        handles.append(text_handle(f"not shown: {hidden} value(s) of alpha that are not positive"))
    legend_below(figure, [*handles, *lost_handles(runs_lost(rows))])
    return figure
