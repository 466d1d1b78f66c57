"""Axes of steps, of m-coherence and of alignment, with their ticks and guides."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator, SymmetricalLogLocator

from mcoherence.figures.panels import most_ticks
from mcoherence.figures.style import NEUTRAL

LINEAR_BELOW = 0.01  # of the axis of alignment


def decade_label(value: float, _: object = None) -> str:
    """A tick label: plain from 0.001 to 1000, a power of ten beyond."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:g}".replace("-", "−")
    exponent = math.floor(math.log10(abs(value)))
    factor = value / 10**exponent
    return rf"$10^{{{exponent}}}$" if math.isclose(factor, 1) else rf"${factor:g}\times10^{{{exponent}}}$"


def step_axis(axes: Axes, last_step: float, columns: int) -> None:
    """Give the horizontal axis steps from 0 on: linear up to step 1, logarithmic from there.

    Args:
        axes: whose axis.
        last_step: the largest step of any panel that shares the axis.
        columns: how many panels share the page's width, which limits the labels.
    """
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    exponents = range(math.floor(math.log10(max(last_step, 1))) + 1)
    stride = math.ceil(len(exponents) / (most_ticks(columns) - 1))
    # From the largest down, so that thinning keeps the end of training and drops step 1 first.
    ticks = [0.0, *sorted(10.0**exponent for exponent in exponents[::-1][::stride])]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(decade_label))
    axes.set_xlim(-0.15, max(last_step, 1) * 1.25)


def log_axis(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers; call it after drawing.

    An axis of less than two decades gets labels at 1, 2 and 5, because its decades alone would be too few.
    """
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    few_decades = low > 0 and high / low < 100
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few_decades else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(decade_label))
    axes.yaxis.set_minor_locator(LogLocator(subs=tuple(np.arange(2.0, 10.0))))
    axes.yaxis.set_minor_formatter(NullFormatter())


def orthogonal_limit(axes: Axes) -> None:
    """Draw the guide at m-coherence 1, the value for pairwise orthogonal gradients."""
    axes.axhline(1, color=NEUTRAL, linewidth=0.7, zorder=1, label="orthogonal limit")


def alignment_axis(axes: Axes) -> None:
    """A vertical axis that shows small and negative alignment too: linear near zero, logarithmic beyond."""
    axes.set_yscale("symlog", linthresh=LINEAR_BELOW, linscale=0.6)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=LINEAR_BELOW, subs=(1.0, 3.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(decade_label))
