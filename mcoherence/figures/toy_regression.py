"""The six-dimensional regressions, real beside random: losses, weights, mean gradient and m-coherence."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcoherence.figures.axes import step_axis
from mcoherence.figures.panels import column_titles, panel_grid
from mcoherence.figures.reading import Tables
from mcoherence.figures.style import NEUTRAL, FigureStyle, theme
from mcoherence.tables.columns import TOY_TRAINING_EXAMPLES

_FIRST, _SECOND, _THIRD = "#0072b2", "#d55e00", "#009e73"  # blue, vermilion, green: told apart by every eye
_SOLID, _DASHED, _DOTTED = (0, ()), (0, (4.5, 1.6)), (0, (1.2, 1.2))
_LOOKS = ((_FIRST, _SOLID), (_SECOND, _DASHED), (_THIRD, _DOTTED))

# The lines of each row of panels: name, column of the table, examples trained on and measured.
_ROWS = {
    "loss": (("train", "train_loss", 4, 4), ("test", "test_loss", 4, 4)),
    "weight": (("component 1", "w1", 4, 4), ("component 6", "w6", 4, 4)),
    "mean gradient": (("component 1", "g1", 4, 4), ("component 6", "g6", 4, 4)),
    "m-coherence": (
        ("of the 4 training examples", "m_coherence", 4, 4),
        ("of all 5", "m_coherence", 4, 5),
        ("of all 5, trained on all 5", "m_coherence", 5, 5),
    ),
}


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Gradient descent against its step: columns are the data, real and random, rows are four quantities.

    Source: arXiv 2203.10036, section 3, the illustrative example. The numbers are exact and have no intervals.

    Args:
        tables: with the tidy table toy.
        style: the figures' shared settings; not read, for no optimiser and no mean over seeds is shown.
    """
    table = tables["toy"]
    names = [str(name) for name in table["data"].unique()]
    figure, grid = panel_grid(len(_ROWS), len(names), row_height=1.5)
    for (quantity, lines), panels in zip(_ROWS.items(), grid, strict=True):
        for name, axes in zip(names, panels, strict=True):
            _draw_panel(axes, table[table["data"] == name], lines)
            step_axis(axes, table["step"].max(), len(names))
        panels[0].set_ylabel(quantity)
        panels[-1].legend(loc="center right", frameon=False, handlelength=2.4, borderaxespad=0.2)
    for axes in grid[-1]:
        _guides(axes)
        axes.set_xlabel("step of gradient descent")
    column_titles(grid, [f"{name} data" for name in names])
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, lines: tuple[tuple[str, str, int, int], ...]) -> None:
    for (label, column, trained_on, measured), (color, linestyle) in zip(lines, _LOOKS, strict=False):
        line = rows[(rows["trained_on"] == trained_on) & (rows["measured"] == measured)].sort_values("step")
        axes.plot(line["step"], line[column], color=color, linestyle=linestyle, linewidth=1.4, label=label)


def _guides(axes: Axes) -> None:
    """The limits of m-coherence of the training examples: 1 where gradients are orthogonal, m where identical."""
    for height, name in ((1, "orthogonal: 1"), (TOY_TRAINING_EXAMPLES, "identical: m = 4")):
        axes.axhline(height, color=NEUTRAL, linewidth=0.7, zorder=1)
        place = axes.get_yaxis_transform()
        axes.text(0.99, height + 0.05, name, transform=place, ha="right", va="bottom", color=NEUTRAL)
    axes.set_yticks(np.arange(6))
    axes.set_ylim(0, 5)
