"""What the legend says of bands, bars and single seeds is what the figure draws."""

import pandas as pd
import pytest

from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.legends import band_handle, bars_handle, legend_below
from mcoherence.figures.panels import new_figure
from mcoherence.figures.style import FigureStyle, LineLook

STYLE = FigureStyle({"sgd": "#0072B2"}, "sgd", confidence=0.9)


@pytest.mark.parametrize(
    ("seeds", "bars", "band"),
    [
        ([1, 1], "one seed, no interval", "one seed, no interval"),
        ([3, 3], "90% interval of the mean, 3 seeds", "single seeds, 3"),  # bars stay, a band of three is left out
        ([4, 5], "90% interval of the mean, 4 to 5 seeds", "90% interval of the mean, 4 to 5 seeds"),
    ],
)
def test_bars_are_intervals_with_few_seeds_too_where_bands_give_way_to_lines(seeds, bars: str, band: str) -> None:
    assert bars_handle(STYLE, seeds).get_label() == bars
    assert band_handle(STYLE, seeds).get_label() == band


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ((5, 2), ["90% interval of the mean, 2 to 5 seeds", "single seeds where fewer than 4"]),
        ((5, 5), ["90% interval of the mean, 5 seeds"]),
        ((2, 2), ["single seeds, 2"]),
    ],
)
def test_thin_lines_beside_bands_are_in_the_legend(seeds, said) -> None:
    figure = new_figure(2.0)
    axes, counts = figure.subplots(), []
    for place, number in enumerate(seeds):
        rows = [{"step": step, "seed": seed, "value": place + seed} for step in (0, 1) for seed in range(number)]
        means = over_seeds(pd.DataFrame(rows), ["step"], "value", 0.9)
        counts += list(means["seeds"])
        draw_line_with_band(axes, means["step"], means, "#000000", LineLook((0, ())), f"line {place}")
    legend_below(figure, [band_handle(STYLE, counts)])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == said
