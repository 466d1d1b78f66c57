"""The best checkpoint of each run against its last one: test accuracy, m-coherence, and when it was."""

from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcoherence.figures.axes import log_axis
from mcoherence.figures.combinations import MOST_ACROSS, name_combinations
from mcoherence.figures.intervals import over_seeds
from mcoherence.figures.legends import bars_handle, legend_below, lost_handles
from mcoherence.figures.panels import letters_across, message_figure, network_title, panel_grid, row_label, say_not_run
from mcoherence.figures.reading import (
    Tables,
    full_set_runs,
    in_order,
    label_sets,
    networks,
    nothing_drawn,
    of_network,
    runs_lost,
    why_empty,
)
from mcoherence.figures.style import NEUTRAL, FigureStyle, readable, theme

QUANTITIES = {
    "test_accuracy": "test accuracy (%)",
    "m_coherence": "m-coherence",
    "step": "at step",
}
_PLACES = {"best": -0.18, "last": 0.18}  # beside the middle of an optimiser's share
_FILL: dict[str, Literal["full", "none"]] = {"best": "full", "last": "none"}


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Three rows per network, a column per label set; each optimiser's best checkpoint beside its last one.

    Small circles, joined, are seeds; large ones their means with t intervals, geometric where the axis is logarithmic.
    Source: arXiv 2203.10036 on early stopping, whose numbers are not known.

    Args:
        tables: with the tidy table early_stopping.
        style: the figures' shared settings.
    """
    rows = full_set_runs(tables["early_stopping"])
    if rows["best_test_accuracy"].isna().all():
        nothing = "This study has no runs on the full training set that did not diverge."
        return message_figure(nothing_drawn(rows, nothing))
    rows = rows.assign(**{f"{which}_test_accuracy": 100 * rows[f"{which}_test_accuracy"] for which in _PLACES})
    all_networks, labels = networks(rows), label_sets(rows)
    names = in_order(rows["optimizer"], [style.reference_optimizer])
    figure, grid = panel_grid(len(QUANTITIES) * len(all_networks), len(labels), row_height=1.6)
    for row, panels in enumerate(grid):
        network, quantity = all_networks[row // len(QUANTITIES)], list(QUANTITIES)[row % len(QUANTITIES)]
        for label, axes in zip(labels, panels, strict=True):
            chosen = of_network(rows, network)
            chosen = chosen[chosen["labels"] == label]
            drawn = chosen[chosen["best_test_accuracy"].notna()]  # of the others the table has steps alone
            _draw_panel(axes, drawn, quantity, names, style)
            if drawn.empty:
                say_not_run(axes, why_empty(chosen))
        if quantity != "test_accuracy":
            log_axis(panels[0])  # the row shares its axis
        if quantity == "step":
            panels[0].set_ylim(0.7, 1.8 * rows["last_step"].max())
        row_label(panels[0], QUANTITIES[quantity])
    shown = [readable(name) for name in names]
    room = letters_across(max(len(labels), MOST_ACROSS) * len(names))
    for axes in grid[-1]:  # colours name the optimisers as well: there is no room for many names
        axes.set_xticks(*((range(len(names)), shown) if max(map(len, shown)) <= room else ([],)))
    titles = [network_title(network, all_networks) for network in all_networks]
    name_combinations(grid, titles, [readable(name) for name in labels], stacked=len(QUANTITIES))
    known = rows[rows["best_test_accuracy"].notna()]
    handles = _handles(style, [name for name in names if (known["optimizer"] == name).any()], known)
    legend_below(figure, [*handles, *lost_handles(runs_lost(rows), shown_until=False)])
    return figure


def _draw_panel(axes: Axes, panel: pd.DataFrame, quantity: str, names: list[str], style: FigureStyle) -> None:
    """Seeds, means and intervals of one label set and quantity; steps below 1 stand at 1."""
    logarithmic = quantity != "test_accuracy"
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.5, len(names) - 0.5)
    for position, name in enumerate(names):
        runs, color = panel[panel["optimizer"] == name], style.color(name)
        values = {which: runs[f"{which}_{quantity}"].astype(float) for which in _PLACES}
        if quantity == "step":
            values = {which: value.clip(lower=1) for which, value in values.items()}
        pairs = np.array([values["best"], values["last"]])
        axes.plot(position + np.array(list(_PLACES.values())), pairs, color=color, linewidth=0.6, alpha=0.5)
        for which, place in _PLACES.items():
            marker: dict[str, Any] = {"color": color, "linestyle": "", "marker": "o", "fillstyle": _FILL[which]}
            axes.plot(np.full(len(runs), position + place), values[which], markersize=3, alpha=0.5, **marker)
            means = over_seeds(
                runs.assign(value=values[which]), ["optimizer"], "value", style.confidence, logarithmic=logarithmic
            )
            errors = np.stack([means["mean"] - means["lower"], means["upper"] - means["mean"]])
            axes.errorbar(
                np.full(len(means), position + place),
                means["mean"],
                yerr=errors,
                markersize=6,
                elinewidth=1.0,
                label=f"{name} {which}",
                **marker,
            )


def _handles(style: FigureStyle, names: list[str], rows: pd.DataFrame) -> list[Artist]:
    """The legend's entries: optimisers, what full and open circles, thin lines and bars are."""
    colors = [Line2D([], [], color=style.color(name), linewidth=2, label=readable(name)) for name in names]
    marks = [
        Line2D([], [], color=NEUTRAL, linestyle="", marker="o", fillstyle=_FILL[which], label=text)
        for which, text in (("best", "best checkpoint, chosen on the test set"), ("last", "last checkpoint"))
    ]
    seed = Line2D([], [], color=NEUTRAL, linewidth=0.6, marker="o", markersize=3, alpha=0.5, label="one seed")
    seeds = rows.groupby(["dataset", "model", "labels", "optimizer"], observed=True)["seed"].nunique()
    return [*marks, seed, bars_handle(style, list(seeds)), *colors]
