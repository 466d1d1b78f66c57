"""The course of the runs of a sweep, from result files written out by hand."""

import numpy as np
import pytest

from mcoherence.tables.sweep import table


@pytest.fixture
def make(measured):
    """The table of one run that is part of two sweeps, past the transient from step 4 on."""
    values = {"width": {"net": 64.0}, "depth": {"net": 2.0, "deeper": 3.0}}
    return lambda: table(measured.results, [measured.run], measured.noise, values=values, reading={"first_step": 4})


def test_a_sweep_has_the_course_of_each_run_under_every_setting_that_it_is_part_of(make, described):
    found = make()
    described("sweep", found)
    assert list(found.groupby("setting", sort=False)["value"].unique()) == [[64], [2]]
    for _, rows in found.groupby("setting"):
        assert rows["step"].tolist() == [0, 4, 8]
        assert rows["past_transient"].tolist() == [False, True, True]
        # sums of pristine and corrupt: (2, 1), (2, 0), (1, 1); their squared norms add up to 13, 13, 4
        np.testing.assert_allclose(rows["m_coherence"], [5 / 13, 4 / 13, 2 / 4])
        # six examples
        np.testing.assert_allclose(rows["alpha"], [5 / 13 / 6, 4 / 13 / 6, 2 / 4 / 6])
        np.testing.assert_allclose(rows["pairwise_alignment"], [-8 / 13 / 5, -9 / 13 / 5, -0.5 / 5])
        assert (rows["batch_norm"] == "sample").all()
        # Steps 4 and 8 are less than an octave apart: a mean from each to half an octave further.
        there, gap = np.log10([4 / 13, 2 / 4]), np.log2(9 / 5)
        means = 10 ** (there + np.diff(there) * np.array([1, -1]) * 0.25 / gap)
        np.testing.assert_allclose(rows["smoothed_m_coherence"], [np.nan, *means])
        assert rows["train_accuracy"].tolist() == [0.25, 0.5, 1.0]
        assert rows["test_accuracy"].tolist() == [0.25, 0.75, 0.75]


def test_a_run_that_begins_by_no_fall_has_no_transient(measured):
    values = {"width": {"net": 64.0}}
    found = table(measured.results, [measured.run], measured.noise, values=values, reading={"peak_window": 0})
    assert found["past_transient"].tolist() == [True, True, True]
    assert found["smoothed_m_coherence"].tolist() == pytest.approx(found["m_coherence"].tolist())


def test_a_checkpoint_that_diverged_has_no_numbers_in_a_sweep(make, measured):
    measured.write([False, False, True])
    found = make()
    numbers = found[["m_coherence", "alpha", "pairwise_alignment", "train_accuracy", "test_accuracy"]]
    assert (numbers.isna().all(axis=1) == found["diverged"]).all()
    assert found["diverged"].sum() == 2  # once in each sweep
