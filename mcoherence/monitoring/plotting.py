"""What a monitor has measured, drawn against the step, for a look while a network trains."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mcoherence.gradients.showing import axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OF_GROUP = "m_coherence/group/"


def plot_of_history(history: pd.DataFrame, ax: "Axes | None" = None) -> "Axes":
    """m-coherence of the sample and of each group by step, 1 as a line; NaN of a diverged row is a gap.

    Args:
        history: `CoherenceMonitor.history`.
        ax: where to; None for a new figure.
    """
    axes = axes_or_new(ax, height=3.6)
    groups = [str(name) for name in history if str(name).startswith(OF_GROUP)]
    lines = {"the sample": "m_coherence", **{name.removeprefix(OF_GROUP): name for name in groups}}
    for label, column in lines.items():
        values = history.get(column, pd.Series(dtype=np.float64))
        axes.plot(history["step"], values.where(values > 0), marker=".", label=label)
    axes.axhline(1.0, color="0.3", lw=0.8, label="orthogonal gradients")
    axes.set_yscale("log")
    axes.set_xlabel("training step")
    axes.set_ylabel("m-coherence")
    axes.legend()
    return axes
