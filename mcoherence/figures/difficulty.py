"""How hard the training examples are, how far runs agree on it, and how it goes with forgetting."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter
from numpy.typing import NDArray

from mcoherence.figures.axes import decade_label, step_axis
from mcoherence.figures.legends import legend_below, text_handle
from mcoherence.figures.panels import column_titles, message_figure, network_title, new_figure, row_title
from mcoherence.figures.reading import Tables, networks, of_network
from mcoherence.figures.style import NEUTRAL, FigureStyle, theme
from mcoherence.tables.columns import ALL_SEEDS, ONE_CHECKPOINT, OTHER_SEEDS

PRISTINE_COLOR, CORRUPT_COLOR = "#56B4E9", "#D55E00"
BINS = 20
ANOTHER_SEED = "another seed"  # in the figure; the table has the number of the seed
COMPARED = {  # what a run is compared with, from the top down
    ANOTHER_SEED: "another\nseed",
    OTHER_SEEDS: "all other\nseeds",
    ALL_SEEDS: "all seeds\n(the score)",
    ONE_CHECKPOINT: "itself at one\ncheckpoint",
}
TITLES = ("difficulty", "one run agrees with", "forgetting")


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Distribution of the scores, agreement between runs, and forgetting events by learning time; a row per network.

    Left: share of the examples per bin of the score, pristine and corrupt ones stacked, with what identical and what
    unrelated rankings of the seeds would give. Middle: a point per reference run and what it is compared with. Right:
    mean number of forgetting events of the examples that are learned at the same checkpoint; areas are numbers of them.
    Source: arXiv 2003.07422 for easy and hard; Toneva et al., arXiv 1812.05159, for forgetting events.

    Args:
        tables: with the tidy tables difficulty and difficulty_agreement.
        style: the figures' shared settings; not read, for nothing here is a mean over seeds.
    """
    table, agreement = tables["difficulty"], tables["difficulty_agreement"]
    rows = table if table.empty else table[~table["diverged"]]
    if rows.empty:
        return message_figure("This study ranked no examples by difficulty.")
    all_networks = networks(rows)
    figure = new_figure(2.3 * len(all_networks) + 0.9)
    grid = figure.subplots(len(all_networks), 3, squeeze=False, gridspec_kw={"width_ratios": (1, 1, 1.15)})
    for network, (scores, agreeing, forgetting) in zip(all_networks, grid, strict=True):
        own = of_network(rows, network)
        _draw_scores(scores, own)
        _draw_agreement(agreeing, of_network(agreement, network))
        _draw_forgetting(forgetting, own)
        row_title(forgetting, network_title(network, all_networks))
    column_titles(grid, TITLES)
    legend_below(figure, _handles(rows))
    return figure


def bates_density(x: NDArray[np.float64], runs: int) -> NDArray[np.float64]:
    """Density on [0, 1] of the mean of `runs` independent uniform numbers: scores of unrelated rankings. Shape of x."""
    scaled = runs * np.asarray(x, dtype=np.float64)[..., None]
    k = np.arange(runs + 1)
    signs = np.array([(-1) ** int(i) * math.comb(runs, int(i)) for i in k], dtype=np.float64)
    terms = signs * np.where(scaled > k, np.clip(scaled - k, 0, None) ** (runs - 1), 0.0)
    return np.asarray(runs * terms.sum(axis=-1) / math.factorial(runs - 1))


def _draw_scores(axes: Axes, rows: pd.DataFrame) -> None:
    runs = rows["seed"].nunique()
    weight = 100 / len(rows)
    parts = [rows.loc[~rows["changed"], "score"], rows.loc[rows["changed"], "score"]]
    axes.hist(
        parts,
        bins=list(np.linspace(0, 1, BINS + 1)),
        weights=[np.full(len(part), weight) for part in parts],
        stacked=True,
        color=[PRISTINE_COLOR, CORRUPT_COLOR],
    )
    x = np.linspace(0, 1, 201)
    axes.axhline(100 / BINS, color=NEUTRAL, linewidth=1, linestyle=(0, (4.5, 1.6)))
    axes.plot(x, 100 / BINS * bates_density(x, runs), color=NEUTRAL, linewidth=1, linestyle=(0, (1.2, 1.2)))
    axes.set(xlabel=f"score: mean rank over {runs} seeds" if runs > 1 else "rank in one run", ylabel="examples (%)")
    axes.set_xlim(0, 1)


def _draw_agreement(axes: Axes, rows: pd.DataFrame) -> None:
    kind = rows["other"].where(rows["other"].isin(list(COMPARED)), ANOTHER_SEED)
    for height, name in enumerate(COMPARED):
        chosen = rows[kind == name]
        if chosen.empty:
            continue
        axes.plot(chosen["spearman"], np.full(len(chosen), height - 0.14), "o", **_marker("#0072B2"))
        axes.plot(chosen["easy_overlap"], np.full(len(chosen), height + 0.14), "s", **_marker("#E69F00"))
        chance = chosen["chance"].mean()
        axes.plot([chance, chance], [height - 0.05, height + 0.33], color=NEUTRAL, linewidth=1.2)
    axes.set_yticks(range(len(COMPARED)), list(COMPARED.values()))
    axes.set_ylim(len(COMPARED) - 0.5, -0.5)
    axes.set_xlim(min(0.0, 1.1 * rows["spearman"].min()), 1.03)
    axes.set_xlabel("rank correlation, overlap")
    axes.tick_params(axis="y", length=0)


def _marker(color: str) -> dict[str, Any]:
    return {"color": color, "markersize": 3.5, "markeredgewidth": 0, "alpha": 0.7, "clip_on": False}


def _draw_forgetting(axes: Axes, rows: pd.DataFrame) -> None:
    counted = rows[np.isfinite(rows["forgetting_events"])]
    last = counted.loc[np.isfinite(counted["learned_at"]), "learned_at"].max()
    last = 1.0 if np.isnan(last) else float(last)
    never = 2.2 * max(last, 1.0)
    for changed, color in ((False, PRISTINE_COLOR), (True, CORRUPT_COLOR)):
        cells = forgetting_by_learning_time(counted[counted["changed"] == changed])
        axes.scatter(
            cells["learned_at"].replace(np.inf, never),
            cells["events"],
            s=4 + 400 * cells["n"] / len(counted),
            color=color,
            alpha=0.75,
            linewidths=0.4,
            edgecolors="white",
        )
    step_axis(axes, last, 3)
    ticks = [tick for tick in axes.xaxis.get_major_locator()() if tick <= last]
    if np.isinf(counted["learned_at"]).any():
        axes.xaxis.set_major_locator(FixedLocator([*ticks, never]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: "never" if x == never else decade_label(x)))
        axes.set_xlim(-0.15, never * 1.5)
    axes.set(xlabel="step from which it stays right", ylabel="forgetting events, mean")


def forgetting_by_learning_time(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean forgetting events of the examples that are learned at the same checkpoint: columns learned_at, events, n."""
    by_time = rows.groupby("learned_at")["forgetting_events"]
    return by_time.agg(events="mean", n="size").reset_index()


def _handles(rows: pd.DataFrame) -> list[Artist]:
    handles: list[Artist] = [
        Line2D([], [], color=NEUTRAL, linewidth=1, linestyle=(0, (4.5, 1.6)), label="if seeds ranked alike"),
        Line2D([], [], color=NEUTRAL, linewidth=1, linestyle=(0, (1.2, 1.2)), label="if seeds were unrelated"),
        Line2D([], [], color="#0072B2", marker="o", linewidth=0, markersize=4, label="rank correlation"),
        Line2D([], [], color="#E69F00", marker="s", linewidth=0, markersize=4, label="overlap of the easy examples"),
        Line2D([], [], color=NEUTRAL, marker="|", linewidth=0, markersize=7, label="overlap by chance"),
    ]
    if rows["changed"].any():
        handles = [
            Patch(color=PRISTINE_COLOR, label="pristine"),
            Patch(color=CORRUPT_COLOR, label="corrupt"),
            *handles,
        ]
    never = int(np.isinf(rows["forgetting_events"]).sum())
    if never:
        handles.append(text_handle(f"not shown: {never} never right, of {len(rows)}"))
    return handles
