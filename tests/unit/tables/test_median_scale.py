"""Times and the choice of rates, on accuracies written out by hand."""

import numpy as np
import pandas as pd
import pytest

from mcoherence.tables.median_scale import is_chosen, table, times_of_run
from tests.unit.tables.conftest import NOISE

ENTRIES = {"c2": {"method": "m3", "batch_size": 12, "rate": 3.0, "group_size": 4.0}}


def accuracies(pristine, corrupt, diverged=False):
    """Rows of the table accuracy of a run with a checkpoint at each epoch; test accuracy is a tenth of the epoch."""
    parts = {"pristine": pristine, "corrupt": corrupt, "test": [0.1 * number for number in range(len(pristine))]}
    return pd.DataFrame(
        [
            {"step": 10 * epoch, "epoch": float(epoch), "part": part, "accuracy": value, "diverged": diverged}
            for part, values in parts.items()
            for epoch, value in enumerate(values)
        ]
    )


def test_times_and_what_is_fitted_then_lie_between_checkpoints():
    found = times_of_run(accuracies([0.0, 0.8, 1.0], [0.1, 0.2, 0.6]), 0.95)
    assert found == pytest.approx(
        {
            "choice_epoch": 1.5, "fit_epoch": 1.75, "corrupt_at_fit": 0.2 + 0.75 * 0.4, "test_at_fit": 0.175,
            "memorised_epoch": 1.75, "end_epoch": 2.0, "end_pristine": 1.0, "end_corrupt": 0.6, "end_test": 0.2,
            "diverged": False,
        }
    )  # fmt: skip


def test_what_a_run_never_reaches_it_reaches_at_infinity():
    found = times_of_run(accuracies([0.0, 0.92], [0.1, 0.2]), 0.95)
    assert found["choice_epoch"] == pytest.approx(0.9 / 0.92)
    assert found["fit_epoch"] == found["memorised_epoch"] == np.inf
    assert np.isnan(found["corrupt_at_fit"])
    lost = times_of_run(accuracies([0.0, 1.0], [0.1, 0.6], diverged=True), 0.95)
    assert lost["choice_epoch"] == lost["memorised_epoch"] == np.inf
    assert np.isnan(lost["end_pristine"])


def runs(times, method="m3"):
    """Rows of a method: (rate, seed) -> time; seeds from 100 on are tuning seeds."""
    return pd.DataFrame(
        [
            {
                "dataset": "d", "model": "net", "method": method, "batch_size": 3, "rate": rate, "seed": seed,
                "tuning": seed >= 100, "choice_epoch": time,
            }
            for (rate, seed), time in times.items()
        ]
    )  # fmt: skip


def chosen_rates(rows):
    return sorted(set(rows.loc[is_chosen(rows), "rate"]))


def test_the_rate_that_gets_there_soonest_on_tuning_seeds_is_chosen_whatever_the_others_say():
    rows = runs({(1.0, 100): 5.0, (3.0, 100): 4.0, (1.0, 0): 1.0, (3.0, 0): 9.0})
    assert chosen_rates(rows) == [3.0]
    assert is_chosen(rows).tolist() == [False, True, False, True]


def test_a_rate_that_one_tuning_seed_never_gets_there_with_is_not_chosen_and_of_equals_the_lowest_is():
    assert chosen_rates(runs({(1.0, 100): 5.0, (1.0, 101): 7.0, (3.0, 100): 1.0, (3.0, 101): np.inf})) == [1.0]
    assert chosen_rates(runs({(3.0, 100): 5.0, (1.0, 100): 5.0})) == [1.0]
    assert chosen_rates(runs({(3.0, 100): np.inf, (1.0, 100): np.inf})) == []


def test_each_method_has_a_rate_of_its_own():
    rows = pd.concat([runs({(1.0, 100): 1.0, (3.0, 100): 2.0}), runs({(1.0, 100): 2.0, (3.0, 100): 1.0}, "sgd")])
    chosen = rows[is_chosen(rows)]
    assert dict(zip(chosen["method"], chosen["rate"], strict=True)) == {"m3": 1.0, "sgd": 3.0}


def test_the_table_names_the_group_and_its_examples_of_a_class(study):
    study.write_evaluation(train=[[1, 0, 0, 1], [0, 1, 1, 0]], test=[[0, 0, 0, 0], [0, 0, 1, 1]])
    rows = table(study.results, [study.run], NOISE, entries=ENTRIES, tuning_seeds=[3], reference="sgd", fit=0.95)
    (row,) = rows.to_dict("records")
    named = ("method", "reference", "batch_size", "rate", "tuning", "chosen", "group_size", "per_class")
    assert [row[name] for name in named] == ["m3", False, 12, 3.0, True, True, 4.0, 2.0]
    assert row["end_corrupt"] == 1.0
