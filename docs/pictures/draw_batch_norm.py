"""The picture of what batch norm normalises by: m-coherence of the same weights by each choice.

    python docs/pictures/draw_batch_norm.py results docs/pictures/batch_norm.png

Of the three studies that `studies/batch_norm_digits.yaml` says how to make, in the folder results. Lines are geometric
means over seeds, bands Student's t intervals of these, worked on logarithms, at 95%.
"""

import sys
from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from scipy import stats

mpl.use("Agg")
CHOICES = {"running": "#0072B2", "sample": "#D55E00", "minibatch": "#009E73"}
LABELS = {"clean": "clean labels", "all_random": "all random labels"}
RATES = {"sgd": "lr 0.3", "sgd_slow": "lr 0.012"}


def draw(axes: Axes, rows: pd.DataFrame, color: str, name: str) -> None:
    """One line with its band, of rows of several seeds with a step and an m-coherence each."""
    logs = np.log10(rows["m_coherence"].where(rows["m_coherence"] > 0))
    of_step = logs.groupby(rows["step"])
    mean, number = of_step.mean(), of_step.count()
    half = of_step.sem() * stats.t.ppf(0.975, number - 1)
    place = np.log2(mean.index.to_numpy() + 1)
    axes.plot(place, 10**mean, color=color, label=name)
    axes.fill_between(place, 10 ** (mean - half), 10 ** (mean + half), color=color, alpha=0.2, linewidth=0)


def main(results: Path, path: Path) -> None:
    """Write the picture."""
    figure, grid = plt.subplots(len(RATES), len(LABELS), figsize=(7, 4.6), sharey=True, sharex="row", squeeze=False)
    for choice, color in CHOICES.items():
        table = pd.read_parquet(results / f"batch_norm_{choice}" / "tables/coherence.parquet")
        whole = table[(table["layer"] == "model") & (table["group"] == "train")]
        for (row, optimizer), (column, labels) in product(enumerate(RATES), enumerate(LABELS)):
            rows = whole[(whole["optimizer"] == optimizer) & (whole["labels"] == labels)]
            draw(grid[row, column], rows, color, choice)
    for row, rate in enumerate(RATES.values()):
        grid[row, 0].set_ylabel(f"m-coherence, {rate}")
    for axes, title in zip(grid[0], LABELS.values(), strict=True):
        axes.set_title(title)
    for axes in grid.flat:
        axes.set_yscale("log")
        axes.axhline(1, color="black", linewidth=0.6)
        ticks = [0, 3, 15, 63, 255, 1023]
        axes.set_xticks(np.log2(np.array(ticks) + 1), [str(tick) for tick in ticks])
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("training step")
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, [f"batch norm by {name}" for name in names], loc="lower center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, dpi=140, metadata={"Software": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
