"""m-coherence along training on samples of several sizes m, for each network and label set."""

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
    """The whole network's m-coherence against the step: rows networks, columns label sets, a dash pattern per m.

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
    optimizer = str(rows["optimizer"].iloc[0])  # the experiment has one
    sizes = sorted(int(m) for m in rows["m"].unique())
    look_of = dict(zip(sizes, looks([str(m) for m in sizes]).values(), strict=True))
    by = ["dataset", "model", "labels", "m", "step"]
    summary = over_seeds(rows, by, "m_coherence", style.confidence, logarithmic=True)
    figure, grid = panel_grid(len(all_networks), len(labels), row_height=1.9)
    for network, panels in zip(all_networks, grid, strict=True):
        for name, axes in zip(labels, panels, strict=True):
            orthogonal_limit(axes)
            panel = of_network(summary[summary["labels"] == name], network)
            for m, look in look_of.items():
                line = panel[panel["m"] == m]
                draw_line_with_band(axes, line["step"], line, style.color(optimizer), look, f"m = {m}")
            if panel.empty:
                say_not_run(axes, why_empty(of_network(rows[rows["labels"] == name], network)))
            step_axis(axes, rows["step"].max(), len(labels))
        row_label(panels[0], "m-coherence")
        for axes in panels:  # after all have drawn, because they share the axis
            log_axis(axes)
    label_below(grid, "training step")
    titles = [network_title(network, all_networks) for network in all_networks]
    name_combinations(grid, titles, [readable(name) for name in labels])
    names: dict[str, LineLook] = {f"m = {m:,}": look for m, look in look_of.items()}
    handles = coherence_handles(style, names, list(summary["seeds"]), not_positive(rows["m_coherence"]))
    legend_below(figure, [*handles, *lost_handles(runs_lost(rows))])
    return figure
