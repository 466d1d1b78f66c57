"""m-coherence of the training sample against the training step, for each model, optimiser and label set."""

import pandas as pd
from matplotlib.figure import Figure

from mcoherence.figures.intervals import draw_line_with_band, not_positive, over_seeds
from mcoherence.figures.style import (
    FigureStyle,
    coherence_handles,
    column_title,
    legend_below,
    log_axis,
    looks,
    message_figure,
    network_title,
    orthogonal_limit,
    panel_grid,
    readable,
    row_title,
    say_not_run,
    step_axis,
    theme,
)
from mcoherence.figures.tables import full_set_runs, in_order, label_sets, networks, of_network


@theme()
def coherence_by_step(table: pd.DataFrame, style: FigureStyle) -> Figure:
    """The whole network's m-coherence against the step: rows models, columns optimisers, lines label sets.

    Lines are geometric means over seeds, bands their t intervals worked on logarithms.
    Source: arXiv 2203.10036, real and random labels along training; arXiv 2008.01217, the same by noise.

    Args:
        table: the tidy table coherence.
        style: the figures' shared settings.
    """
    rows = full_set_runs(table)
    rows = rows[(rows["group"] == "train") & (rows["layer"] == "model") & rows["m_coherence"].notna()]
    if rows.empty:
        return message_figure("This study measured no m-coherence of the whole network on the full training set.")
    all_networks, optimizers = networks(rows), in_order(rows["optimizer"], [style.reference_optimizer])
    label_looks = looks(label_sets(table))
    summary = over_seeds(
        rows,
        ["dataset", "model", "optimizer", "labels", "step"],
        "m_coherence",
        style.confidence,
        logarithmic=True,
    )
    figure, grid = panel_grid(len(all_networks), len(optimizers), row_height=1.9)
    for network, panels in zip(all_networks, grid, strict=True):
        for optimizer, axes in zip(optimizers, panels, strict=True):
            panel = of_network(summary[summary["optimizer"] == optimizer], network)
            orthogonal_limit(axes)
            for labels, look in label_looks.items():
                line = panel[panel["labels"] == labels]
                if not line.empty:
                    draw_line_with_band(axes, line["step"], line, style.color(optimizer), look, labels)
            if panel.empty:
                say_not_run(axes)
        row_title(panels[-1], network_title(network, all_networks))
        panels[0].set_ylabel("m-coherence")
        for axes in panels:  # after all have drawn, because they share the axis
            log_axis(axes)
    for optimizer, axes in zip(optimizers, grid[0], strict=True):
        column_title(axes, readable(optimizer), len(optimizers), style.color(optimizer))
    for axes in grid.flat:
        step_axis(axes, rows["step"].max(), len(optimizers))
    for axes in grid[-1]:
        axes.set_xlabel("training step")
    shown = {name: look for name, look in label_looks.items() if (summary["labels"] == name).any()}
    legend_below(figure, coherence_handles(style, shown, list(summary["seeds"]), not_positive(rows["m_coherence"])))
    return figure
