"""m-coherence of the training sample against the training step, for each model, optimiser and label set."""

from matplotlib.figure import Figure

from mcoherence.figures.axes import step_axis
from mcoherence.figures.coherence_panels import add_legend, draw_panels, name_panels
from mcoherence.figures.intervals import of_single_runs, over_seeds
from mcoherence.figures.panels import label_below, message_figure
from mcoherence.figures.reading import (
    Tables,
    label_sets,
    nothing_drawn,
    rows_of_redrawn_labels,
    rows_of_training_sample,
)
from mcoherence.figures.style import FigureStyle, looks, theme


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """The whole network's m-coherence against the step: rows models, columns optimisers, lines label sets.

    Lines are geometric means over seeds, bands their t intervals worked on logarithms. Grey is what runs that were
    measured with redrawn labels give: where a single one of them would lie.
    Source: arXiv 2203.10036, real and random labels along training; arXiv 2008.01217, the same by noise.

    Args:
        tables: with the tidy table coherence.
        style: the figures' shared settings.
    """
    table = tables["coherence"]
    rows = rows_of_training_sample(table)
    if rows["m_coherence"].isna().all():
        nothing = "This study measured no m-coherence of the whole network on the full training set."
        return message_figure(nothing_drawn(rows, nothing))
    label_looks = looks(label_sets(table))
    by = ["dataset", "model", "optimizer", "labels", "step"]
    summary = over_seeds(rows, by, "m_coherence", style.confidence, logarithmic=True)
    redrawn = rows_of_redrawn_labels(table)
    null = of_single_runs(over_seeds(redrawn, by, "m_coherence", style.confidence, logarithmic=True), logarithmic=True)
    figure, grid = draw_panels(rows, summary, "step", style, label_looks, null)
    for axes in grid.flat:
        step_axis(axes, rows["step"].max(), grid.shape[1])
    label_below(grid, "training step")
    name_panels(grid, rows, style)
    add_legend(figure, rows, summary, style, label_looks, null)
    return figure
