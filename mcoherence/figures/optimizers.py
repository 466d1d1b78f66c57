"""What each optimiser changes against the reference: accuracy on pristine, corrupt and test examples, and the gap."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcoherence.figures.axes import step_axis
from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import band_handle, legend_below, look_handles, lost_handles
from mcoherence.figures.panels import (
    column_titles,
    message_figure,
    network_title,
    panel_grid,
    row_label,
    row_title,
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
)
from mcoherence.figures.style import NEUTRAL, FigureStyle, LineLook, looks, readable, theme

QUANTITIES = {"pristine": "on pristine", "corrupt": "on corrupt", "test": "on test", "gap": "train − test"}
AXES = {"step": "training step", "examples": "training examples seen"}
_KEYS = ["dataset", "model", "labels", "noise", "optimizer", "seed", "step", "examples"]
_RUN = ["dataset", "model", "labels", "optimizer", "seed"]


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """A row per network, a column per quantity: every other optimiser minus the reference, within each seed.

    Where optimisers take different numbers of examples per update, a second row against the examples seen: the upper
    one then compares at equal updates, the lower one at equal examples. Lines are means over seeds, bands their t
    intervals, colours optimisers, dashes label sets.
    Source: arXiv 2003.07422, SGD, M3 and RM3 under label noise; its control RA3.

    Args:
        tables: with the tidy table accuracy.
        style: the figures' shared settings.
    """
    rows = full_set_runs(tables["accuracy"])
    rows = rows[rows["part"].isin(["train", *QUANTITIES])]
    if rows["accuracy"].isna().all():
        return message_figure(nothing_drawn(rows, "This study evaluated no runs on the full training set."))
    values = with_gap(rows)
    names = in_order(values["optimizer"], [style.reference_optimizer])
    reference, others = names[0], names[1:]
    if not others:
        return message_figure(f"All runs of this study are {readable(reference)}'s: there is nothing to compare.")
    all_networks, labels = networks(values), label_sets(values)
    label_looks = looks(labels)
    row_keys = [(network, x) for network in all_networks for x in horizontal_axes(of_network(values, network))]
    figure, grid = panel_grid(len(row_keys), len(QUANTITIES), row_height=1.9, sharex=False)
    seeds: list[int] = []
    drawn: set[tuple[str, str]] = set()  # optimiser, label set
    for (network, x), panels in zip(row_keys, grid, strict=True):
        changed = against_reference(of_network(values, network), reference, x)
        for quantity, axes in zip(QUANTITIES, panels, strict=True):
            summary = over_seeds(changed, ["labels", "optimizer", x], quantity, style.confidence)
            seeds += list(summary["seeds"])
            _draw_panel(axes, summary, x, others, label_looks, style)
            if summary.empty:
                say_not_run(axes, _why_not_compared(of_network(values, network), reference, quantity))
            drawn |= set(zip(summary["optimizer"], summary["labels"], strict=True))
            step_axis(axes, values[x].max(), len(QUANTITIES))
            axes.set_xlabel(AXES[x])
        row_label(panels[0], f"accuracy minus\n{readable(reference)}'s (points)")
        row_title(panels[-1], network_title(network, all_networks))
    column_titles(grid, list(QUANTITIES.values()))
    shown = [name for name in others if name in {optimizer for optimizer, _ in drawn}]
    colors = [Line2D([], [], color=style.color(name), linewidth=2, label=readable(name)) for name in shown]
    shown_looks = {name: look for name, look in label_looks.items() if name in {labels for _, labels in drawn}}
    handles = [*colors, *look_handles(shown_looks), band_handle(style, seeds)]
    legend_below(figure, [*handles, *lost_handles(runs_lost(rows))])
    return figure


def with_gap(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per run and checkpoint: examples seen, the accuracies and the gap in percent; the table's order of runs.

    Args:
        rows: of the tidy table accuracy, the parts train, pristine, corrupt and test.
    """
    size = rows[rows["part"] == "train"].groupby("dataset", observed=True)["n"].first()
    examples = np.rint(rows["epoch"] * rows["dataset"].map(size))
    wide = rows.assign(examples=examples, accuracy=100 * rows["accuracy"])
    wide = wide.groupby([*_KEYS, "part"], observed=True, sort=False)["accuracy"].first().unstack("part").reset_index()
    wide = wide.reindex(columns=[*_KEYS, "train", "pristine", "corrupt", "test"])
    return wide.assign(gap=wide["train"] - wide["test"])


def horizontal_axes(values: pd.DataFrame) -> list[str]:
    """The columns to draw against: step, and examples too where optimisers take different numbers of them at a step."""
    differ = values.groupby("step")["examples"].nunique().gt(1).any()
    return list(AXES) if differ else ["step"]


def against_reference(values: pd.DataFrame, reference: str, x: str) -> pd.DataFrame:
    """Every other optimiser's QUANTITIES minus the reference's of the same label set and seed, at equal `x`.

    The reference's are interpolated linearly where it was not evaluated at that place, and NaN beyond its last one.

    Args:
        values: what `with_gap` returns, of one network.
        reference: the optimiser to compare with.
        x: "step" or "examples".

    Returns:
        A row per run and checkpoint of the others: _RUN, x, and the differences in percentage points.
    """
    given = values.sort_values(x)
    of_reference = dict(list(given[given["optimizer"] == reference].groupby(["labels", "seed"], observed=True)))
    found = []
    for (_, _, label, _, seed), run in given[given["optimizer"] != reference].groupby(_RUN, observed=True, sort=False):
        if (beside := of_reference.get((label, seed))) is not None:
            expected = {
                name: np.interp(run[x], beside[x], beside[name].astype(float), right=np.nan) for name in QUANTITIES
            }
            found.append(run[[*_RUN, x]].assign(**{name: run[name] - expected[name] for name in QUANTITIES}))
    return pd.concat(found) if found else given.iloc[:0][[*_RUN, x, *QUANTITIES]]


def _draw_panel(
    axes: Axes, summary: pd.DataFrame, x: str, names: list[str], label_looks: dict[str, LineLook], style: FigureStyle
) -> None:
    """The lines of one quantity, an optimiser and label set each; the reference is the line at 0."""
    axes.axhline(0, color=NEUTRAL, linewidth=0.7, zorder=1, label="reference")
    for name in names:
        for label, look in label_looks.items():
            line = summary[(summary["optimizer"] == name) & (summary["labels"] == label)]
            if not line.empty:
                draw_line_with_band(axes, line[x], line, style.color(name), look, f"{name} {label}")


def _why_not_compared(values: pd.DataFrame, reference: str, quantity: str) -> str:
    """Why a network has no difference of a quantity to draw."""
    of_reference = values["optimizer"] == reference
    for rows, whose in ((values[of_reference], readable(reference)), (values[~of_reference], "another optimiser")):
        if rows.empty:
            return f"no runs of {whose}"
        if rows["test"].isna().all():
            return f"runs of {whose} diverged"
    return "no such examples" if values[quantity].isna().all() else "nothing to compare"
