"""What the legend says of bands, bars and single seeds is what the figure draws."""

import pytest

from mcoherence.figures.legends import band_handle, bars_handle
from mcoherence.figures.style import FigureStyle

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
