"""Training minus test accuracy at the end of training, for each model, label set and optimiser."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcoherence.figures.intervals import over_seeds
from mcoherence.figures.legends import legend_below, lost_handles
from mcoherence.figures.panels import (
    MARGINS,
    category_labels,
    message_figure,
    network_title,
    panel_grid,
    panel_title,
    row_label,
    say_not_run,
)
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
from mcoherence.figures.style import NEUTRAL, WIDTH, FigureStyle, readable, theme
from mcoherence.tables.columns import RUN_COLUMNS
from mcoherence.tables.rows import last_rows

_DODGE = 0.8  # the share of the distance between two label sets that seaborn's stripplot gives to its colours
_BESIDE = 0.35  # of an optimiser's share
_MOST_COLUMNS = 3
_LEAST_SHARE = 0.5  # inches of a label set along a panel, as far as one panel a row can give it


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Training minus test accuracy at each run's last checkpoint: panels are models, label sets go along.

    Circles are seeds, dashes their means, bars the means' t intervals.
    Source: arXiv 2003.07422, overfitting under SGD, M3 and RM3 with and without label noise.

    Args:
        tables: with the tidy table accuracy.
        style: the figures' shared settings.
    """
    runs = full_set_runs(tables["accuracy"])
    gaps = last_gap(runs)
    if gaps.empty:
        nothing = "This study has no runs with a training and a test accuracy on the full training set."
        return message_figure(nothing_drawn(runs, nothing))
    all_networks, labels = networks(runs), label_sets(runs)
    optimizers = in_order(gaps["optimizer"], [style.reference_optimizer])
    summary = over_seeds(gaps, ["dataset", "model", "labels", "optimizer"], "gap", style.confidence)
    below = 0.0
    columns = min(len(all_networks), _MOST_COLUMNS, max(1, int((WIDTH - MARGINS) / (len(labels) * _LEAST_SHARE))))
    figure, grid = panel_grid(-(-len(all_networks) // columns), columns, row_height=2.4, sharey=True)
    for network, axes in zip(all_networks, grid.flat, strict=False):
        colors = {optimizer: style.color(optimizer) for optimizer in optimizers}
        own = of_network(gaps, network)
        if own.empty:
            say_not_run(axes, why_empty(of_network(runs, network)))
        else:
            _draw_panel(axes, own, of_network(summary, network), labels, colors)
        below = _name_label_sets(axes, labels, columns)
        panel_title(axes, network_title(network, all_networks), columns)
    figure.set_figheight(figure.get_figheight() + below * len(grid))
    for axes in grid.flat[len(all_networks) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        row_label(axes, "training − test accuracy\n(percentage points)")
    lost = lost_handles(runs_lost(runs), shown_until=False)
    legend_below(figure, [*_handles(optimizers, summary, style), *lost])
    return figure


def last_gap(table: pd.DataFrame) -> pd.DataFrame:
    """A row per run: its keys, and training minus test accuracy at its last step, in percentage points.

    Args:
        table: the tidy table accuracy.
    """
    rows = table[table["part"].isin(["train", "test"])]
    if rows.empty:
        return pd.DataFrame(columns=[*RUN_COLUMNS, "gap"])
    # In this order: a diverged run has no last accuracy, and earlier ones do not count.
    last = last_rows(rows).dropna(subset=["accuracy"])
    # A grouped sum of signed accuracies keeps the runs in the table's order, which a pivot would sort.
    signed = last.assign(gap=100 * last["accuracy"].where(last["part"] == "train", -last["accuracy"]))
    both = signed.groupby(list(RUN_COLUMNS), observed=True, sort=False)["gap"].agg(["sum", "count"]).reset_index()
    return both[both["count"] == 2].drop(columns="count").rename(columns={"sum": "gap"})


def _draw_panel(
    axes: Axes, gaps: pd.DataFrame, summary: pd.DataFrame, labels: list[str], colors: dict[str, str]
) -> None:
    """The seeds, means and intervals of one network."""
    axes.axhline(0, color=NEUTRAL, linewidth=0.7, zorder=1)
    sns.stripplot(
        gaps,
        x="labels",
        y="gap",
        hue="optimizer",
        order=labels,
        hue_order=list(colors),
        palette=colors,
        dodge=True,
        jitter=False,
        size=4,
        alpha=0.45,
        legend=False,
        ax=axes,
    )
    for position, (optimizer, color) in enumerate(colors.items()):
        points = summary[summary["optimizer"] == optimizer]
        # Seaborn puts the seeds in the middle of an optimiser's share; the mean stands right beside them.
        offset = (position - (len(colors) - 1) / 2 + _BESIDE) * _DODGE / len(colors)
        axes.errorbar(
            [labels.index(name) + offset for name in points["labels"]],
            points["mean"],
            yerr=points["half_width"],
            color=color,
            linestyle="",
            marker="_",
            markersize=9,
            markeredgewidth=1.8,
            elinewidth=1.2,
            capsize=3,
            label=optimizer,
        )


def _name_label_sets(axes: Axes, labels: list[str], columns: int) -> float:
    """The label sets below a panel, of so many side by side; how many inches more than two lines they need."""
    axes.grid(visible=False, axis="x")
    below = category_labels(axes, [readable(name) for name in labels], columns)
    axes.tick_params(axis="x", length=0, labelbottom=True)
    axes.set(xlabel="", ylabel="", xlim=(-0.5, len(labels) - 0.5))
    return below


def _handles(optimizers: list[str], summary: pd.DataFrame, style: FigureStyle) -> list[Line2D]:
    """The legend's entries: colours, then what circles, dashes and bars are."""
    colors = [Line2D([], [], color=style.color(name), linewidth=2, label=readable(name)) for name in optimizers]
    seed = Line2D([], [], color=NEUTRAL, linestyle="", marker="o", markersize=4, alpha=0.45, label="one seed")
    only_one = summary["seeds"].max() == 1
    text = "mean" if only_one else f"mean with {style.percent} interval"
    mean = Line2D([], [], color=NEUTRAL, linestyle="", marker="_", markersize=9, markeredgewidth=1.8, label=text)
    return [*colors, seed, mean]
