"""Names and numbers of figures do not run into each other, however many and however long they are."""

import math
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D

from mcoherence.figures import layer_coherence, sweep, winsorization
from mcoherence.figures.axes import MOST_SYMLOG_TICKS, SymlogTicks, step_axis
from mcoherence.figures.combinations import name_combinations
from mcoherence.figures.legends import legend_below
from mcoherence.figures.lettering import broken
from mcoherence.figures.panels import category_labels, column_titles, panel_grid, panel_title, row_label, row_title
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle, theme

STYLE = FigureStyle({"sgd": "#0072b2", "win": "#d55e00", "win_other": "#009e73"}, "sgd")
LONG = "a very long name of a network with sixty four letters in it fully"


def apart(artists, across=True):
    """Whether no two neighbours of texts meet, side by side or one above the other."""
    boxes = [artist.get_window_extent() for artist in artists]
    if across:
        return all(one.x1 <= other.x0 + 1 for one, other in pairwise(sorted(boxes, key=lambda box: box.x0)))
    return all(one.y1 <= other.y0 + 1 for one, other in pairwise(sorted(boxes, key=lambda box: box.y0)))


@theme()
def test_labels_of_low_rows_do_not_meet():
    figure, grid = panel_grid(8, 1, row_height=1.8)
    for (axes,) in grid:
        row_label(axes, "mean alignment of\ntwo examples (size-free)")
    figure.draw_without_rendering()
    assert apart([axes.yaxis.label for axes in grid[:, 0]], across=False)


@pytest.mark.parametrize(("count", "columns"), [(4, 3), (4, 1), (11, 1), (11, 3), (20, 1)])
@theme()
def test_names_of_categories_do_not_meet(count, columns):
    figure, grid = panel_grid(1, columns, row_height=2.4, sharey=True)
    names = [f"noise {number} percent of labels" for number in range(count)]
    for axes in grid.flat:
        below = category_labels(axes, names, columns)
        axes.set_xlim(-0.5, count - 0.5)
    figure.set_figheight(figure.get_figheight() + below)
    figure.draw_without_rendering()
    for axes in grid.flat:
        assert [label.get_text().replace("\n", " ") for label in axes.get_xticklabels()] == names
        assert apart(axes.get_xticklabels())


@theme()
def test_titles_of_panels_side_by_side_do_not_meet():
    figure, grid = panel_grid(1, 3, row_height=2.4)
    for axes in grid.flat:
        panel_title(axes, f"CIFAR-10, {LONG} $1$", 3)
    figure.draw_without_rendering()
    assert apart([axes.title for axes in grid.flat])


@pytest.mark.parametrize("depth", [40])
def test_names_of_nested_layers_do_not_meet(depth):
    layers = [f"features.denseblock{number // 25}.denselayer{number}.conv1" for number in range(depth)]
    run = {"dataset": "d", "model": "m", "labels": "clean", "noise": 0.0, "optimizer": "sgd", "subset": "full"}
    rows = [
        {**run, "seed": 0, "step": step, "group": "train", "layer": layer, "m_coherence": 2.0 + step, "diverged": False}
        for layer, step in product(layers, (0, 10))
    ]
    figure = layer_coherence.draw({"coherence": pd.DataFrame(rows)}, STYLE)
    with theme():
        figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title().replace("\n", "") for axes in panels] == layers
    assert apart([axes.title for axes in panels[:6]])
    heights = [axes.get_position().height * figure.get_figheight() for axes in panels]
    assert min(heights) > 0.5  # inches: the titles took no panel's place


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((-0.0087, 0.0067), [-0.005, 0, 0.005]),  # in the linear part alone: no limits to seven digits
        ((-0.0005, 0.04), [0, 0.01, 0.03]),
        ((-0.05, 2), [-0.01, 0, 0.01, 0.1, 1]),
        ((-1, 1), [-1, 0, 1]),
    ],
)
def test_ticks_of_an_axis_that_is_linear_near_zero_are_round_and_few(limits, expected):
    low, high = limits
    ticks = [tick for tick in SymlogTicks(0.01).tick_values(low, high) if low <= tick <= high]
    assert ticks == pytest.approx(expected)
    assert len(ticks) <= MOST_SYMLOG_TICKS


@theme()
def test_a_long_legend_takes_nothing_of_the_panels():
    def height_of_panel(entries):
        figure, grid = panel_grid(1, 2, row_height=1.7)
        legend_below(figure, [Line2D([], [], label=f"noise {number} percent of labels") for number in range(entries)])
        figure.draw_without_rendering()
        return grid[0, 0].get_position().height * figure.get_figheight()

    assert height_of_panel(30) > 0.9 * height_of_panel(4)


@theme()
def test_more_columns_than_can_be_read_close_up():
    names = ["SGD", "M3", "RM3", "RA3", "Adam", "AdamW", "winsorised SGD", "SGD, momentum", LONG]
    figure, grid = panel_grid(2, len(names), row_height=1.9)
    for number, axes in enumerate(grid.flat):
        axes.plot([0, 1], [0, 1], label=names[number % len(names)])
        step_axis(axes, 10_000, len(names))
    name_combinations(grid, ["MLP", "CNN"], names)
    figure.draw_without_rendering()
    bands = {}
    for axes in figure.axes:
        assert axes.get_title().replace("\n", " ").startswith(axes.lines[0].get_label())
        bands.setdefault(axes.get_subplotspec().rowspan.start, []).append(axes)
    assert max(map(len, bands.values())) <= 5
    assert all(apart([axes.title for axes in band]) for band in bands.values())
    for axes in bands[max(bands)]:
        assert apart([label for label in axes.get_xticklabels() if label.get_text()])


def titles_of_rows(figure):
    return [text.get_text().replace("\n", " ") for axes in figure.axes for text in axes.texts if text.get_rotation()]


def test_rows_of_sweeps_name_their_data_set_and_are_of_runs_that_there_are():
    keys = {"optimizer": "sgd", "labels": "clean", "noise": 0.0, "subset": "full", "diverged": False}
    rows = [
        {**keys, "dataset": dataset, "setting": setting, "value": value, "model": f"{setting}{value}", "seed": seed,
         "step": step, "m_coherence": 2.0, "smoothed_m_coherence": 2.0, "train_accuracy": 0.9, "test_accuracy": 0.5}
        for dataset, setting in (("mnist", "width"), ("cifar10", "width"), ("cifar10", "depth"))
        for value, seed, step in product((1.0, 2.0), range(2), (0, 10))
    ]  # fmt: skip
    figure = sweep.draw({"sweep": pd.DataFrame(rows)}, STYLE)
    assert titles_of_rows(figure) == [
        "MNIST, width, SGD clean labels", "CIFAR-10, width, SGD clean labels", "CIFAR-10, depth, SGD clean labels",
    ]  # fmt: skip


def test_two_families_of_winsorised_sgd_of_a_network_are_told_apart():
    run = {"dataset": "digits", "model": "mlp", "labels": "clean", "noise": 0.0, "subset": "full", "step": 10}
    rows = [
        {**run, "optimizer": name, "seed": seed, "c": c, "alike": alike, "overfit": 0.1, "train_accuracy": 0.9,
         "test_accuracy": 0.5, "proper_accuracy": 1.0, "diverged": False}
        for name, c, alike in (("sgd", 0.0, 0), ("win", 2.0, 0), ("sgd", 0.0, 1), ("win_other", 2.0, 1))
        for seed in range(2)
    ]  # fmt: skip
    first, second = titles_of_rows(winsorization.draw({"overfit": pd.DataFrame(rows)}, STYLE))
    assert (first, second) == ("MLP win", "MLP win other")


@theme()
def test_a_name_of_a_row_keeps_to_its_row():
    figure, grid = panel_grid(6, 1, row_height=1.9)
    for (axes,) in grid:
        row_title(axes, LONG)
    figure.draw_without_rendering()
    assert apart([axes.texts[-1] for axes in grid[:, 0]], across=False)
    assert math.isfinite(np.sum([axes.get_position().height for axes in grid[:, 0]]))


WIDE = "W" * 64


@pytest.mark.parametrize("dpi", [50, 200])
def test_names_of_wide_letters_stay_on_the_page(dpi, tmp_path):
    with theme():
        figure, grid = panel_grid(2, 2, row_height=1.9)
        for axes, title in zip(grid[:, -1], (WIDE, LONG), strict=True):
            row_title(axes, title)
        column_titles(grid, [WIDE, LONG])
        legend_below(figure, [Line2D([], [], label=name) for name in (WIDE, LONG, "SGD", "M3")])
        save_figure(figure, tmp_path / "f.png", tmp_path / "f.pdf", dpi)
    page = figure.bbox
    texts = [*(axes.title for axes in grid[0]), *(axes.texts[-1] for axes in grid[:, -1]), *figure.legends]
    for text in texts:
        box = text.get_window_extent()
        assert page.x0 <= box.x0 < box.x1 <= page.x1, text
        assert page.y0 <= box.y0 < box.y1 <= page.y1, text
    assert apart([axes.title for axes in grid[0]])
    heights = [axes.get_position().height * figure.get_figheight() for axes in grid[:, 0]]
    assert min(heights) > 0.8  # inches


def test_lines_are_as_long_as_their_letters_are_wide():
    assert broken("a name", 6, 0.07) == "a name"
    assert broken("WWWW", 4, 0.07).split("\n") == ["WW", "WW"]  # 0.11 inches each; 0.28 have room
    assert broken("two\nlines", 6, 0.07) == "two\nlines"


@theme()
def test_words_of_categories_stay_whole():
    figure, grid = panel_grid(1, 3, row_height=2.4)
    for axes in grid.flat:
        category_labels(axes, ["clean", "quarter random", "half random", "three quarters random", "all random"], 3, 6.7)
    figure.draw_without_rendering()
    lines = [line for label in grid[0, 0].get_xticklabels() for line in label.get_text().split("\n")]
    words = {word for line in lines for word in line.split()}
    assert words == {"clean", "quarter", "random", "half", "three", "quarters", "all"}


@theme()
def test_words_of_neighbours_are_apart_in_the_narrow_panels_of_a_summary():
    names = ["clean", "quarter random", "half random", "three quarters random", "all random"]
    figure, grid = panel_grid(1, 3, row_height=2.4, sharey="col")
    for axes in grid.flat:
        category_labels(axes, names, 3, 6.7)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.tick_params(axis="x", labelsize=6.7)
    row_title(grid[0, -1], "Fashion-MNIST, MLP 1x512")
    figure.draw_without_rendering()
    for axes in grid.flat:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert all(one.x1 + 2 <= other.x0 for one, other in pairwise(boxes))
