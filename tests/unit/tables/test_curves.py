"""What is read off a curve of m-coherence: on curves drawn by hand, and on simulated ones."""

import math

import numpy as np
import pandas as pd
import pytest

from mcoherence.tables.curves import Reading, at_losses, end_of_transient, ends_of_transients, peak, smoothed

OCTAVES = [0, 1, 3, 7, 15, 31, 63]  # at 0, 1, 2, ... octaves


def test_a_smoothed_value_is_the_geometric_mean_over_the_octave_around_it():
    # Half an octave on either side: from 0 to 2 and back the line is at 1, so that the mean is (1 + 2 + 2 + 1) / 4.
    assert smoothed([3, 7, 15], [1, 100, 1]) == pytest.approx([0.5, 1.5, 0.5])
    assert smoothed(OCTAVES, [10] * 7) == pytest.approx([1] * 7)


def test_smoothing_is_over_steps_and_not_over_checkpoints():
    dense = 2 ** np.arange(0, 7.01, 0.125) - 1
    triangle = 10 ** (2 - np.abs(np.log2(dense + 1) - 4))
    every_other = slice(None, None, 4)
    assert smoothed(dense, triangle)[every_other] == pytest.approx(smoothed(dense[every_other], triangle[every_other]))


def test_what_is_no_positive_number_is_left_out_and_bridged():
    assert smoothed([3, 7, 15], [10, math.nan, 10]) == pytest.approx([1, math.nan, 1], nan_ok=True)
    assert smoothed([3, 7, 15], [10, 0, 10]) == pytest.approx([1, math.nan, 1], nan_ok=True)
    assert np.isnan(smoothed([3, 7], [math.nan, 0])).all()
    assert smoothed([5], [100]) == pytest.approx([2])


@pytest.mark.parametrize(
    ("m_coherence", "end"),
    [
        ([500, 60, 8, 4, 4, 60, 1], 7),  # as on ImageNet: down from near m, then up and down again
        ([500, 60, 8, 4, 4, 4, 4], math.nan),  # down and never up: no peak that could be told from the start
        ([2, 2, 2, 5, 30, 8, 1], 0),  # up from the start
        ([9, 9, 8, 9, 90, 8, 1], 0),  # hardly down before it goes up
        ([2, 1, 0.5, 0.5, 30, 8, 1], 0),  # no high start to fall from
        ([1, 2, 5, 30, 8, 2, 1], 0),  # a fall after the peak is no transient
        ([1, 1, 1, 1, 1, 1, 1], 0),
        ([90, 40, 45, 4, 4, 90, 1], 7),  # a bump on the way down does not end it
        ([math.nan] * 7, math.nan),
    ],
)
def test_the_transient_is_a_fall_from_the_start_to_the_first_minimum_before_a_rise(m_coherence, end):
    assert end_of_transient(OCTAVES, m_coherence) == pytest.approx(end, nan_ok=True)


def test_the_transient_ends_alike_with_twice_the_checkpoints():
    dense = 2 ** np.arange(0, 8.01, 0.25) - 1
    place = np.log2(dense + 1)
    curve = 10 ** np.interp(place, [0, 3, 6, 8], [2.5, 0.5, 2.5, 0])
    assert end_of_transient(dense, curve) == end_of_transient(dense[::2], curve[::2]) == 7


def test_the_peak_is_the_highest_smoothed_value_past_the_transient():
    found = peak(OCTAVES, [900, 900, 1, 100, 1, 10, 10], begin=3)
    assert (found.log10, found.step) == (pytest.approx(1.5), 7)
    assert math.isnan(peak(OCTAVES, [1] * 7, begin=100).log10)
    assert math.isnan(peak(OCTAVES, [1] * 7, begin=math.nan).step)


def test_checkpoints_before_the_end_of_the_transient_take_no_part_in_the_mean():
    assert peak([0, 3, 7], [1000, 1000, 10], begin=7).log10 == pytest.approx(1)


def test_a_peak_changes_little_where_checkpoints_are_twice_as_dense():
    """Simulated: a hump of 1.3 in log10 with scatter of 0.2 that is forgotten within a third of an octave."""
    rng = np.random.default_rng(0)
    dense = np.unique(np.round(2 ** np.arange(0, 11.01, 0.25))).astype(int)
    place = np.log2(dense + 1)
    kept = np.isin(dense, np.round(2 ** np.arange(0, 11.01, 0.5)).astype(int))
    covariance = np.exp(-np.abs(place[:, None] - place) / 0.3)
    scatter = rng.multivariate_normal(np.zeros(len(place)), covariance, size=200)
    curves = 1.3 * np.exp(-(((place - 7) / 1.3) ** 2) / 2) + 0.2 * scatter
    rises = np.array([peak(dense, 10**one).log10 - peak(dense[kept], 10 ** one[kept]).log10 for one in curves])
    of_maximum = curves.max(axis=1) - curves[:, kept].max(axis=1)
    assert of_maximum.mean() > 0.05  # 12% more by looking more often
    assert abs(rises.mean()) < 0.02
    assert np.sqrt((rises**2).mean()) < 0.07 < np.sqrt((of_maximum**2).mean())


def test_values_at_a_loss_are_read_where_it_is_first_reached_and_between_checkpoints_on_logarithms():
    loss, m_coherence = [2.0, 1.0, 1.5, 0.0], [1, 100, 1, 10]
    found = at_losses(loss, m_coherence, [3.0, 1.5, 1.0, 0.5, -1])
    assert found == pytest.approx([math.nan, 1, 2, 2 / 3, math.nan], nan_ok=True)
    # The first two levels were reached by the checkpoint at which the transient ends.
    assert at_losses(loss, m_coherence, [1.5, 1.0, 0.5], first=1) == pytest.approx(
        [math.nan, math.nan, 2 / 3], nan_ok=True
    )


def test_each_curve_has_an_end_of_its_own_unless_the_study_sets_one():
    curves = pd.concat(
        [
            pd.DataFrame({"model": "net", "seed": seed, "step": OCTAVES, "m_coherence": values})
            for seed, values in ((0, [500, 60, 8, 4, 4, 60, 1]), (1, [2, 2, 2, 5, 30, 8, 1]))
        ]
    )
    assert ends_of_transients(curves, ["model", "seed"]).to_numpy().tolist() == [["net", 0, 7], ["net", 1, 0]]
    assert ends_of_transients(curves[::-1], ["seed"], Reading(first_step=3)).to_numpy().tolist() == [[1, 3], [0, 3]]
