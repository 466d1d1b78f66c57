"""Second-split forgetting: when examples of one half are learned, and when they are forgotten on the other half."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcoherence.figures.axes import step_axis
from mcoherence.figures.difficulty import CORRUPT_COLOR, PRISTINE_COLOR
from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import band_handle, legend_below
from mcoherence.figures.panels import column_titles, message_figure, network_title, panel_grid, row_title
from mcoherence.figures.reading import Tables, networks, of_network
from mcoherence.figures.style import FigureStyle, LineLook, theme

STAGES = {
    "first_split_learned_at": ("learned on its own half", "learned for good (%)", "training step, first half"),
    "second_split_forgotten_at": (
        "then trained on the other half",
        "forgotten for good (%)",
        "training step, second half",
    ),
}
COLORS = {
    "pristine": PRISTINE_COLOR,
    "corrupt": CORRUPT_COLOR,
    "easier half": PRISTINE_COLOR,
    "harder half": CORRUPT_COLOR,
}
LOOKS = {group: LineLook((0, dashes)) for group, dashes in zip(COLORS, ((), (4.5, 1.6), (), (4.5, 1.6)), strict=True)}


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Share of examples learned by each step of the first stage, and forgotten by each step of the second, per network.

    Lines are pristine and corrupt examples where labels were changed, else the easier and the harder half by score;
    means over seeds with their t intervals.
    Source: Maini et al., arXiv 2210.15031, first-split learning and second-split forgetting time.

    Args:
        tables: with the tidy table difficulty.
        style: the figures' shared settings.
    """
    table = tables["difficulty"]
    rows = table[table["second_split_forgotten_at"].notna()]
    if rows.empty:
        return message_figure("This study trained no networks on one half after the other.")
    all_networks = networks(rows)
    figure, grid = panel_grid(len(all_networks), len(STAGES), row_height=2.2, sharey=False)
    seeds: list[int] = []
    for network, panels in zip(all_networks, grid, strict=True):
        grouped = in_groups(of_network(rows, network))
        for (column, (_, ylabel, _)), axes in zip(STAGES.items(), panels, strict=True):
            shares = shares_by_step(grouped, column)
            summary = over_seeds(shares, ["group", "step"], "share", style.confidence)
            seeds += list(summary["seeds"])
            for group, line in summary.groupby("group", sort=False):
                draw_line_with_band(axes, line["step"], line, COLORS[str(group)], LOOKS[str(group)], str(group))
            axes.set_ylabel(ylabel)
            axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])  # so that a line at 0 is seen
            step_axis(axes, shares["step"].max(), len(STAGES))
        row_title(panels[-1], network_title(network, all_networks))
    column_titles(grid, [title for title, _, _ in STAGES.values()])
    for axes, (_, _, label) in zip(grid[-1], STAGES.values(), strict=True):
        axes.set_xlabel(label)
    shown = [group for group in COLORS if any(line.get_label() == group for axes in grid.flat for line in axes.lines)]
    handles = [Line2D([], [], color=COLORS[g], linestyle=LOOKS[g].linestyle, label=g) for g in shown]
    legend_below(figure, [*handles, band_handle(style, seeds)])
    return figure


def in_groups(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of one network with the column group: pristine or corrupt; the half by score where none is corrupt."""
    if rows["changed"].any():
        return rows.assign(group=np.where(rows["changed"], "corrupt", "pristine"))
    return rows.assign(group=np.where(rows["score"] > rows["score"].median(), "harder half", "easier half"))


def shares_by_step(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Percentage of the examples of a group and seed whose time `column` has come, at every step at which any has.

    Args:
        rows: with the columns group, seed and `column`.
        column: of times; inf where it never comes.

    Returns:
        Columns group, seed, step, share.
    """
    steps = np.unique(np.append(rows.loc[np.isfinite(rows[column]), column], 0.0))
    frames = []
    for (group, seed), part in rows.groupby(["group", "seed"], sort=False):
        share = 100 * np.searchsorted(np.sort(part[column].to_numpy()), steps, side="right") / len(part)
        frames.append(pd.DataFrame({"group": group, "seed": seed, "step": steps, "share": share}))
    return pd.concat(frames, ignore_index=True)
