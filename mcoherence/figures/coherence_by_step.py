"""m-coherence of the training sample against the training step, for each model, optimiser and label set."""

import pandas as pd
from matplotlib.figure import Figure

from mcoherence.figures.intervals import draw_line_with_band, not_positive, over_seeds
from mcoherence.figures.style import (
    FigureStyle,
    band_handle,
    legend_below,
    log_axis,
    look_handles,
    looks,
    message_figure,
    network_title,
    orthogonal_limit,
    orthogonal_limit_handle,
    panel_grid,
    readable,
    row_title,
    say_not_run,
    say_not_shown,
    step_axis,
    theme,
)
from mcoherence.figures.tables import full_set_runs, in_order, label_sets, networks, of_network


@theme()
def coherence_by_step(table: pd.DataFrame, style: FigureStyle) -> Figure:
    """The whole network's m-coherence against the step: a row per model, a column per optimiser, a line per label set.

    Lines are geometric means over seeds, bands their t intervals worked on logarithms.
    Source: arXiv 2203.10036, m-coherence of real and random labels along training; arXiv 2008.01217, the same by noise.

    Args:
        table: the tidy table coherence.
        style: the figures' shared settings.
    """
    rows = full_set_runs(table)
    rows = rows[(rows["group"] == "train") & (rows["layer"] == "model") & rows["m_coherence"].notna()]
    if rows.empty:
        return message_figure(
            "This study measured no m-coherence of the whole network on the full training set."
        )
    all_networks, optimizers = networks(rows), in_order(rows["optimizer"], list(style.optimizer_colors))
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
            panel = of_network(summary, network).query("optimizer == @optimizer")
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
            log_axis(axes, "y")
    for optimizer, axes in zip(optimizers, grid[0], strict=True):
        axes.set_title(readable(optimizer), color=style.color(optimizer), fontweight="bold")
    for axes in grid.flat:
        step_axis(axes, rows["step"].max())
    for axes in grid[-1]:
        axes.set_xlabel("training step")
    say_not_shown(figure, not_positive(rows["m_coherence"]), "m-coherence")
    shown = {name: look for name, look in label_looks.items() if (summary["labels"] == name).any()}
    handles = [
        *look_handles(shown),
        orthogonal_limit_handle(),
        band_handle(style, list(summary["seeds"]), geometric=True),
    ]
    legend_below(figure, handles)
    return figure
