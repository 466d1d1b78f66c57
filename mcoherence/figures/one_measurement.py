"""m-coherence of one coherence file, whatever network and groups it is of: by layer, or along its sets of weights."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from mcoherence.figures.axes import decade_label, log_axis, orthogonal_limit, step_axis
from mcoherence.figures.panels import new_figure
from mcoherence.figures.style import NEUTRAL, theme
from mcoherence.tables.columns import WHOLE_NETWORK
from mcoherence.tables.sums import Sums

Line = tuple[NDArray[np.int64], NDArray[np.float64]]  # steps [K], values [K]
ROW_HEIGHT = 0.17  # inches for a layer


@theme()
def draw_by_layer(sums: Sums, groups: tuple[str, ...]) -> Figure:
    """m-coherence of each layer and of the whole network at the last set of weights, a marker for each group.

    Args:
        sums: of the file.
        groups: that are shown; of more than eight colours do not tell all apart.
    """
    rows = [WHOLE_NETWORK, *sums.layers]
    figure = new_figure(0.9 + ROW_HEIGHT * len(rows))
    axes = figure.subplots()
    places = np.arange(len(rows))
    for group in groups:
        values = [sums.m_coherence(group, row)[-1] for row in rows]
        axes.plot(values, places, marker="o", markersize=3.5, linestyle="none", label=group)
    axes.axvline(1, color=NEUTRAL, linewidth=0.7, zorder=1)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_formatter(FuncFormatter(decade_label))
    axes.xaxis.set_minor_formatter(FuncFormatter(decade_label) if high < 4 * low else NullFormatter())
    axes.set_yticks(places, ["whole network", *sums.layers], parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("m-coherence (1: orthogonal gradients)")
    figure.legend(loc="outside lower center", ncols=min(len(groups), 4), frameon=False)
    return figure


@theme()
def draw_by_step(lines: Mapping[str, Line]) -> Figure:
    """m-coherence of the whole network against the step, a line for each group.

    Args:
        lines: group -> steps [K] and values of m-coherence [K]; of more than eight colours do not tell all apart.
    """
    figure = new_figure(3.0)
    axes = figure.subplots()
    for group, (steps, values) in lines.items():
        axes.plot(steps, values, marker="o", markersize=3, linewidth=1.4, label=group)
    orthogonal_limit(axes)
    log_axis(axes)
    step_axis(axes, float(max(steps.max() for steps, _ in lines.values())), 1)
    axes.set_xlabel("training step")
    axes.set_ylabel("m-coherence")
    axes.legend(frameon=False)
    return figure
