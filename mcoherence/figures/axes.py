"""Axes of steps, of m-coherence and of alignment, with their ticks and guides."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    SymmetricalLogLocator,
)

from mcoherence.figures.panels import most_ticks
from mcoherence.figures.style import NEUTRAL

LINEAR_BELOW = 0.01  # of the axis of alignment
MOST_SYMLOG_TICKS = 5  # in a row of the least height


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


class SymlogTicks(SymmetricalLogLocator):
    """Round ticks of an axis that is linear near zero and logarithmic beyond, as many as a low panel has room for.

    Matplotlib's own are the limits themselves, to all their digits, where the axis shows its linear part alone.
    """

    def __init__(self, linear_below: float) -> None:
        super().__init__(base=10, linthresh=linear_below)
        self.linear_below = linear_below

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """The ticks between two limits: 1 and 3 times powers of ten, or powers alone, fewer if there are too many."""
        low, high = min(vmin, vmax), max(vmin, vmax)
        largest = max(abs(low), abs(high))
        if not largest > self.linear_below:
            return list(MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(low, high))
        first, last = round(math.log10(self.linear_below)), math.floor(math.log10(largest))
        choices: list[list[float]] = [[factor * 10.0**power for power in range(first, last + 1) for factor in (1, 3)]]
        choices += [[10.0**power for power in range(first, last + 1)]]
        # Of fewer than all decades not the lowest, whose label would touch that of zero.
        choices += [[10.0**power for power in range(last, first, -stride)] for stride in range(2, last - first + 2)]
        for positive in choices:
            ticks = [tick for tick in sorted([-one for one in positive] + [0.0] + positive) if low <= tick <= high]
            if len(ticks) <= MOST_SYMLOG_TICKS:
                break
        return ticks


def alignment_axis(axes: Axes) -> None:
    """A vertical axis that shows small and negative alignment too: linear near zero, logarithmic beyond."""
    axes.set_yscale("symlog", linthresh=LINEAR_BELOW, linscale=0.6)
    axes.yaxis.set_major_locator(SymlogTicks(LINEAR_BELOW))
    axes.yaxis.set_major_formatter(FuncFormatter(decade_label))
