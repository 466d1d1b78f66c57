"""m-coherence along training on samples of several sizes m, for each network and label set."""

from itertools import product

import pandas as pd
from matplotlib.figure import Figure

from mcoherence.figures.axes import log_axis, orthogonal_limit, step_axis
from mcoherence.figures.combinations import name_combinations
from mcoherence.figures.intervals import draw_line_with_band, not_positive, over_seeds
from mcoherence.figures.legends import coherence_handles, legend_below, lost_handles
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
    label_sets,
    networks,
    nothing_drawn,
    of_network,
    runs_lost,
    why_empty,
)
from mcoherence.figures.style import FigureStyle, LineLook, looks, readable, theme


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """The whole network's m-coherence against the step: rows networks, a dash pattern per m, columns label sets.

    Where the study measured runs of several optimisers, each has a column of its own for every label set.

    Lines are geometric means over seeds, bands their t intervals worked on logarithms.
    Source: arXiv 2008.01217, doubling of m.

    Args:
        tables: with the tidy table sample_size.
        style: the figures' shared settings.
    """
    rows = tables["sample_size"]
    if rows["m_coherence"].isna().all():
        return message_figure(nothing_drawn(rows, "This study measured no samples of several sizes."))
    all_networks, labels = networks(rows), label_sets(rows)
    optimizers = list(dict.fromkeys(map(str, rows["optimizer"])))
    columns = list(product(labels, optimizers))
    sizes = sorted(int(m) for m in rows["m"].unique())
    look_of = dict(zip(sizes, looks([str(m) for m in sizes]).values(), strict=True))
    by = ["dataset", "model", "labels", "optimizer", "m", "step"]
    summary = over_seeds(rows, by, "m_coherence", style.confidence, logarithmic=True)
    figure, grid = panel_grid(len(all_networks), len(columns), row_height=1.9)
    for network, panels in zip(all_networks, grid, strict=True):
        for column, axes in zip(columns, panels, strict=True):
            orthogonal_limit(axes)
            panel = _of_column(of_network(summary, network), column)
            for m, look in look_of.items():
                line = panel[panel["m"] == m]
                draw_line_with_band(axes, line["step"], line, style.color(column[1]), look, f"m = {m}")
            if panel.empty:
                say_not_run(axes, why_empty(_of_column(of_network(rows, network), column)))
            step_axis(axes, rows["step"].max(), len(columns))
        row_label(panels[0], "m-coherence")
        for axes in panels:  # after all have drawn, because they share the axis
            log_axis(axes)
    label_below(grid, "training step")
    titles = [network_title(network, all_networks) for network in all_networks]
    shown = [", ".join(map(readable, column if len(optimizers) > 1 else column[:1])) for column in columns]
    name_combinations(grid, titles, shown)
    names: dict[str, LineLook] = {f"m = {m:,}": look for m, look in look_of.items()}
    handles = coherence_handles(style, names, list(summary["seeds"]), not_positive(rows["m_coherence"]))
    legend_below(figure, [*handles, *lost_handles(runs_lost(rows))])
    return figure


def _of_column(table: pd.DataFrame, column: tuple[str, str]) -> pd.DataFrame:
    """The rows of one label set and optimiser."""
    labels, optimizer = column
    rows: pd.DataFrame = table[(table["labels"] == labels) & (table["optimizer"] == optimizer)]
    return rows
