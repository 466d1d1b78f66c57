"""m-coherence of the training sample against the training loss, for each model, optimiser and label set."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from mcoherence.figures.axes import decade_label
from mcoherence.figures.coherence_panels import add_legend, draw_panels, name_panels
from mcoherence.figures.intervals import over_seeds
from mcoherence.figures.panels import label_below, message_figure
from mcoherence.figures.reading import Tables, label_sets, nothing_drawn, rows_of_training_sample
from mcoherence.figures.style import FigureStyle, looks, theme
from mcoherence.tables.columns import RUN_COLUMNS

_CHECKPOINT = [*RUN_COLUMNS, "step"]


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """The whole network's m-coherence against the training loss, which falls to the right.

    Rows are models, columns optimisers, lines label sets. A point of a line is one checkpoint, at the
    mean loss over seeds and the geometric mean of m-coherence; bands are t intervals of the latter, worked on
    logarithms.
    Source: arXiv 2203.10036, m-coherence of real and random labels against training loss.

    Args:
        tables: with the tidy tables coherence and accuracy, of which the loss on the training set is read.
        style: the figures' shared settings.
    """
    rows = _with_loss(tables["coherence"], tables["accuracy"])
    if rows["m_coherence"].isna().all():
        nothing = "This study measured no m-coherence together with a training loss on the full training set."
        return message_figure(nothing_drawn(rows, nothing))
    label_looks = looks(label_sets(tables["coherence"]))
    by = ["dataset", "model", "optimizer", "labels", "step"]
    summary = over_seeds(rows, by, "m_coherence", style.confidence, logarithmic=True)
    loss = over_seeds(rows[rows["m_coherence"] > 0], by, "loss", style.confidence)  # of the same seeds
    summary = summary.merge(loss[[*by, "mean"]].rename(columns={"mean": "loss"}), on=by)
    figure, grid = draw_panels(rows, summary, "loss", style, label_looks)
    largest = _largest_shown(summary)
    for axes in grid.flat:
        _loss_axis(axes, largest)
    label_below(grid, "training loss\n(falls to the right)")
    name_panels(grid, rows, style)
    add_legend(figure, rows, summary, style, label_looks, null=pd.DataFrame())
    return figure


def _largest_shown(summary: pd.DataFrame) -> float:
    """The largest loss of the axis: that of all lines, but no more than twice the median one before training.

    An untrained network with batch norm can have a loss in the hundreds, beside which all others would have no room.
    """
    losses = summary.loc[np.isfinite(summary["loss"])]
    before = losses.loc[losses["step"] == losses["step"].min(), "loss"].median()
    return float(min(losses["loss"].max(), 2 * before))


def _loss_axis(axes: Axes, largest: float) -> None:
    """A horizontal axis of losses down to 0, on a square-root scale.

    A linear one would squeeze the end of training, where the loss is near 0, into a corner; a logarithmic one
    its long beginning, where the loss has barely left the value of guessing.
    """
    axes.set_xscale("function", functions=(lambda loss: np.sqrt(np.maximum(loss, 0)), np.square))
    axes.set_xlim(1.08 * largest if largest > 0 else 1.0, 0)
    ticks = [0, 0.1, 0.5, 1, *2.0 ** np.arange(1, 10)]
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= max(largest, 0)]))
    axes.xaxis.set_major_formatter(FuncFormatter(decade_label))


def _with_loss(coherence: pd.DataFrame, accuracy: pd.DataFrame) -> pd.DataFrame:
    """The whole network's m-coherence of the training sample, with the training loss at that checkpoint.

    Where one of the two is missing, both are.
    """
    loss = accuracy.loc[accuracy["part"] == "train", [*_CHECKPOINT, "loss"]]
    joined = rows_of_training_sample(coherence).merge(loss, on=_CHECKPOINT, validate="one_to_one")
    known = joined["m_coherence"].notna() & joined["loss"].notna()
    return joined.assign(m_coherence=joined["m_coherence"].where(known), loss=joined["loss"].where(known))
