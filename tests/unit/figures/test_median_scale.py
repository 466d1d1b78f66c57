"""The figure of medians at tuned rates, drawn from the table of the CNN that the findings are of."""

from itertools import pairwise
from pathlib import Path

import pandas as pd

from mcoherence.figures.median_scale import draw
from mcoherence.figures.style import FigureStyle

TABLE = Path(__file__).parents[3] / "docs/numbers/median_scale_cnn.csv"


def test_the_numbers_of_examples_in_a_group_are_round_and_apart_and_those_of_all_rows() -> None:
    table = pd.read_csv(TABLE)
    colors = dict.fromkeys(table["optimizer"], "#0072B2") | dict.fromkeys(table["method"], "#0072B2")
    figure = draw({"median_scale": table}, FigureStyle(colors, table["optimizer"].iloc[0], 0.95))
    figure.draw_without_rendering()
    for axes in figure.axes[-2:]:  # the lowest row's, which alone has them
        lower, upper = axes.get_xlim()
        shown = [label for label in axes.get_xticklabels() if lower <= label.get_position()[0] <= upper]
        assert [label.get_text() for label in shown] == ["0.1", "0.2", "0.5", "1", "2", "5"]
        boxes = [label.get_window_extent() for label in shown]
        assert all(one.x1 < other.x0 for one, other in pairwise(boxes))
        rows = [axes, *axes.get_shared_x_axes().get_siblings(axes)]
        assert {each.get_xlim() for each in rows} == {(lower, upper)}
