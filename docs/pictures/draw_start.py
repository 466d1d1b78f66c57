"""The picture of the start page: what m-coherence is, and how it goes along training.

    python docs/pictures/draw_start.py results/digits/tables/coherence.parquet docs/pictures/m_coherence.png

Above, four gradients that agree more or less, worked by hand. Below, the default study's own numbers: its MLP at the
lower learning rate with real and with random labels, mean of the seeds.
"""

import sys
from math import cos, radians, sin
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

mpl.use("Agg")
# Directions of four gradients of length 1, in degrees, and what is said of them.
SETS = {
    "all agree": (0, 0, 0, 0),
    "two and two": (0, 0, 90, 90),
    "help and harm balance": (0, 0, 90, -90),
    "they cancel": (0, 90, 180, 270),
}
GRADIENT, SUM, REAL, RANDOM = "#777777", "#0072B2", "#0072B2", "#D55E00"


def m_coherence(degrees: tuple[int, ...]) -> float:
    """|S|^2 / Q of gradients of length 1.

    Example:
        >>> [round(m_coherence(degrees)) for degrees in SETS.values()]
        [4, 2, 1, 0]
    """
    total = sum(cos(radians(d)) for d in degrees), sum(sin(radians(d)) for d in degrees)
    return (total[0] ** 2 + total[1] ** 2) / len(degrees)


def draw_gradients(axes: Axes, said: str, degrees: tuple[int, ...]) -> None:
    """One set: its gradients from one point, side by side where they are the same, and their sum S."""
    arrow = {"length_includes_head": True, "head_width": 0.2, "head_length": 0.25}
    total = [sum(map(cos, map(radians, degrees))), sum(map(sin, map(radians, degrees)))]
    if abs(complex(*total)) > 1e-9:
        axes.arrow(0, 0, *total, color=SUM, width=0.07, alpha=0.9, **arrow)
        axes.annotate("S", total, (7, 4), textcoords="offset points", color=SUM, fontweight="bold")
    for i, d in enumerate(degrees):
        beside = 0.14 * (degrees[:i].count(d) - (degrees.count(d) - 1) / 2)
        start = -sin(radians(d)) * beside, cos(radians(d)) * beside
        axes.arrow(*start, cos(radians(d)), sin(radians(d)), color=GRADIENT, width=0.025, **arrow)
    axes.set(xlim=(-1.3, 4.4), ylim=(-1.2, 2.4), aspect="equal")
    axes.axis("off")
    axes.set_title(f"{said}\nm-coherence {m_coherence(degrees):.0f}", fontsize=11)


def draw_curves(axes: Axes, coherence: pd.DataFrame) -> None:
    """m-coherence by step for real and random labels, a thin line for each seed and their geometric mean."""
    whole = coherence.query("layer == 'model' and group == 'train' and model == 'mlp' and optimizer == 'sgd_slow'")
    whole = whole[whole["subset"] == "full"]
    for labels, color, said in (("clean", REAL, "real labels"), ("all_random", RANDOM, "random labels")):
        rows = whole[whole["labels"] == labels]
        for _, run in rows.groupby("seed"):
            axes.plot(run["step"].clip(lower=0.7), run["m_coherence"], color=color, linewidth=0.6, alpha=0.4)
        mean = np.exp(np.log(rows["m_coherence"]).groupby(rows["step"]).mean())
        axes.plot(mean.index.to_numpy().clip(0.7), mean, color=color, linewidth=2.2, label=said)
    axes.axhline(1, color="black", linewidth=0.8, linestyle=":", label="1: nothing for the others in sum")
    axes.set(xscale="log", yscale="log", xlabel="training step", ylabel="m-coherence of 240 examples")
    axes.set_xticks([0.7, 10, 100, 1000], ["0", "10", "100", "1000"])
    axes.set_yticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
    axes.minorticks_off()
    axes.set_title("An MLP learns 480 handwritten digits, at a low learning rate (five seeds)", fontsize=11)
    axes.legend(frameon=False, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)


def main(table: Path, picture: Path) -> None:
    """Draw it all into one file."""
    figure = plt.figure(figsize=(9, 6.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.7))
    above.suptitle("Four examples, four gradients (grey), and their sum S", fontsize=12)
    for axes, (said, degrees) in zip(above.subplots(1, len(SETS)), SETS.items(), strict=True):
        draw_gradients(axes, said, degrees)
    draw_curves(below.subplots(), pd.read_parquet(table))
    figure.savefig(picture, dpi=140, metadata={"Software": None})


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
