"""The panels of combinations that a study has close up where it lacks many of the others."""

import warnings

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcoherence.figures.axes import step_axis
from mcoherence.figures.combinations import name_combinations, panels_across
from mcoherence.figures.panels import label_below, panel_grid, row_title, say_not_run
from mcoherence.figures.style import theme

ROWS = [f"Fashion-MNIST, network {row}" for row in range(4)]
COLUMNS = ["SGD", "M3", "RM3"]


def _drawn(run: set[tuple[int, int]], stacked: int = 1) -> Figure:
    """A figure of ROWS and COLUMNS in which only `run` has lines, each its own; all others say so."""
    with theme():
        figure, grid = panel_grid(stacked * len(ROWS), len(COLUMNS), row_height=1.9)
        for row, panels in enumerate(grid):
            for column, axes in enumerate(panels):
                if (row // stacked, column) in run:
                    axes.plot([0, 1], [0, 100 * (row + 1)], label=f"{row} {column}")
                else:
                    say_not_run(axes)
                step_axis(axes, 10_000, len(COLUMNS))
            panels[0].set_ylabel(f"quantity {row % stacked}")
        label_below(grid, "training step")
        name_combinations(grid, ROWS, COLUMNS, stacked=stacked)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # matplotlib's, of panels that collapsed
            figure.draw_without_rendering()
    return figure


def _place(axes: Axes) -> tuple[int, int]:
    spec = axes.get_subplotspec()
    assert spec is not None
    return spec.rowspan.start, spec.colspan.start


def test_every_panel_stays_where_few_combinations_are_missing() -> None:
    run = {(row, column) for row in range(4) for column in range(3)} - {(0, 1), (3, 2), (2, 0)}  # 3 of 12
    figure = _drawn(run)
    assert len(figure.axes) == 12
    assert [axes.get_title() for axes in figure.axes[:3]] == COLUMNS
    assert [text.get_text() for text in figure.axes[1].texts] == ["no such runs"]


def test_the_panels_with_runs_close_up_in_reading_order_under_their_names() -> None:
    run = [(0, 0), (0, 1), (1, 0), (1, 2), (2, 0), (3, 2)]
    figure = _drawn(set(run))
    # Six of twelve: 3 across, two bands.
    assert {_place(axes): axes.get_lines()[0].get_label() for axes in figure.axes} == {
        (0, 0): "0 0", (0, 1): "0 1", (0, 2): "1 0", (1, 0): "1 2", (1, 1): "2 0", (1, 2): "3 2",
    }  # fmt: skip
    names = [" ".join(axes.get_title().split()) for axes in figure.axes]
    assert names == [f"{COLUMNS[column]} {ROWS[row]}" for row, column in run]
    assert [axes.get_ylabel() for axes in figure.axes] == ["quantity 0", "", "", "quantity 0", "", ""]
    assert [axes.get_xlabel() for axes in figure.axes] == [""] * 3 + ["training step"] * 3
    assert not any(text.get_text() == "no such runs" for axes in figure.axes for text in axes.texts)


def test_a_panel_shows_its_own_scale_unless_its_neighbour_has_the_same() -> None:
    run = [(0, 0), (0, 1), (1, 0), (1, 2), (2, 0), (3, 2)]
    shown = [axes.yaxis.get_tick_params()["labelleft"] for axes in _drawn(set(run)).axes]
    # Of a row of the study all panels share the scale: the second of row 0, at the right of the first, needs none.
    assert shown == [True, False, True, True, True, True]


def test_stacked_panels_stay_together_and_those_with_nothing_below_say_the_steps() -> None:
    figure = _drawn({(0, 0), (1, 1), (2, 2), (3, 0)}, stacked=2)
    places = {axes.get_lines()[0].get_label(): _place(axes) for axes in figure.axes}
    assert places == {
        "0 0": (0, 0), "1 0": (1, 0), "2 1": (0, 1), "3 1": (1, 1),
        "4 2": (0, 2), "5 2": (1, 2), "6 0": (2, 0), "7 0": (3, 0),
    }  # fmt: skip
    steps = {axes.get_lines()[0].get_label(): axes.xaxis.get_tick_params()["labelbottom"] for axes in figure.axes}
    assert [label for label, shown in steps.items() if shown] == ["3 1", "5 2", "7 0"]


@pytest.mark.parametrize(
    ("combinations", "stacked", "across"),
    [
        (12, 1, 3),  # four bands of one row of 1.05 inches fit a page of 7, with 0.8 for the legend
        (15, 1, 3),  # 5 x 1.05 + 0.8 = 6.05
        (16, 1, 4),  # 6 x 1.05 + 0.8 = 7.1 do not
        (10, 2, 5),  # two bands of two; three bands would be 7.1
        (16, 2, 4),  # none fits: eight rows in four bands, which five across would need too
        (1, 1, 1),
    ],
)
def test_as_few_stand_side_by_side_as_fit_the_page(combinations: int, stacked: int, across: int) -> None:
    assert panels_across(combinations, stacked) == across


@pytest.mark.parametrize("rows", [1, 3, 6])
def test_a_long_name_of_a_row_does_not_push_the_rows_apart(rows: int) -> None:
    with theme():
        figure, grid = panel_grid(rows, 2, row_height=1.9)
        for panels in grid:
            row_title(panels[-1], "Fashion-MNIST of fifty thousand images, Inception-v3 with batch norm\nhalf random")
        figure.draw_without_rendering()
    heights = [axes.get_position().height * figure.get_figheight() for axes in grid[:, 0]]
    share = (figure.get_figheight() - 0.8) / rows
    assert min(heights) > 0.6 * share
