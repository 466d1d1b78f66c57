"""Where a run first reaches a level of accuracy on pristine examples, on curves written out by hand."""

import numpy as np
import pandas as pd
import pytest

from mcoherence.tables.crossings import between, first_crossing
from mcoherence.tables.equal_fit import at_levels

STEPS = (0, 10, 30, 40)


def accuracy_of(pristine, noise=0.5, diverged=(False,) * 4):
    values = {"train": (0.1,) * 4, "pristine": pristine, "corrupt": (0.0, 0.1, 0.5, 0.7), "test": (0.1, 0.5, 0.6, 0.4)}
    return pd.DataFrame(
        [
            {"dataset": "d", "model": "net", "labels": "half", "noise": noise, "optimizer": "sgd", "subset": "full"}
            | {"seed": 0, "step": step, "epoch": step / 10, "part": part, "accuracy": value, "diverged": lost}
            for part, curve in values.items()
            for step, value, lost in zip(STEPS, curve, diverged, strict=True)
        ]
    )


def test_what_is_read_at_a_level_is_linear_between_checkpoints(described):
    found = at_levels(accuracy_of((0.2, 0.6, 1.0, 1.0)), [0.1, 0.4, 0.6, 0.7])
    described("equal_fit", found)
    # above the first level from the start; half-way to the second checkpoint; at it; a quarter further on
    assert found["step"].tolist() == pytest.approx([0, 5, 10, 15])
    assert found["epoch"].tolist() == pytest.approx([0, 0.5, 1, 1.5])
    assert found["corrupt_accuracy"].tolist() == pytest.approx([0, 0.05, 0.1, 0.2])
    assert found["test_accuracy"].tolist() == pytest.approx([0.1, 0.3, 0.5, 0.525])
    assert found["reached"].all()


def test_the_first_time_counts_where_a_curve_falls_back():
    found = at_levels(accuracy_of((0.2, 0.8, 0.4, 0.9)), [0.5, 0.8, 0.85])
    # half-way up to the first peak; at it; only the second rise gets to 0.85, nine tenths of its way
    assert found["step"].tolist() == pytest.approx([5, 10, 39])
    assert found["corrupt_accuracy"].tolist() == pytest.approx([0.05, 0.1, 0.68])


def test_a_level_that_is_never_reached_has_no_numbers():
    found = at_levels(accuracy_of((0.2, 0.3, 0.5, 0.5)), [0.5, 0.6])
    assert found["reached"].tolist() == [True, False]
    assert found.loc[1, ["step", "epoch", "corrupt_accuracy", "test_accuracy"]].isna().all()
    assert not found["diverged"].any()


def test_a_run_that_diverged_has_no_numbers_at_any_level():
    found = at_levels(accuracy_of((0.2, 0.9, np.nan, np.nan), diverged=(False, False, True, True)), [0.5])
    assert found["diverged"].all()
    assert found["corrupt_accuracy"].isna().all()


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_runs_without_pristine_and_corrupt_examples_have_no_rows(noise):
    found = at_levels(accuracy_of((0.2, 0.3, 0.5, 0.5), noise=noise), [0.5])
    assert found.empty
    assert {"pristine_accuracy", "corrupt_accuracy", "seed", "diverged"} <= set(found)


def test_places_along_a_curve_are_found_and_read():
    places = first_crossing([0.0, 0.5, 0.4, 0.9], [0.0, 0.25, 0.5, 0.65, 1.0])
    np.testing.assert_array_equal(places, [0, 0.5, 1, 2.5, np.nan])
    np.testing.assert_allclose(between([0, 10, 20, 40], places), [0, 5, 10, 30, np.nan])
