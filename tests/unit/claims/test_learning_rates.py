"""The learning rates that parts are tested at, and which of them are stable."""

import pandas as pd
import pytest

from mcoherence.claims import learning_rates
from mcoherence.claims.learning_rates import rates_of, with_rates
from mcoherence.claims.measured import Exact, LearningRate, Measured, rates_in_words
from mcoherence.claims.nulls import rounding
from mcoherence.claims.settings import ClaimSettings

RATES = {"fast": {"net": 0.3}, "slow": {"net": 0.1}, "m3": {"net": 0.3}}
SETTINGS = ClaimSettings(
    confidence=0.95,
    first_step=None,
    target_accuracy=0.9,
    methods={"fast": "sgd", "slow": "sgd", "m3": "m3"},
    rates=RATES,
)
NAMES = {"dataset": "d", "model": "net", "part": "train", "labels": "clean", "seed": 0}


def run(accuracy, **names):
    return pd.DataFrame(NAMES | {"step": range(len(accuracy)), "accuracy": accuracy, "diverged": False} | names)


def largest_fall(runs, fitted=0.999, learning_share=1 / 9):
    return learning_rates.largest_fall(runs, fitted, learning_share)


def test_the_largest_fall_is_of_any_run_between_neighbouring_checkpoints_before_the_fit():
    runs = pd.concat([run([0.1, 0.5, 0.45, 0.9, 1.0, 0.2]), run([0.1, 0.5, 0.38, 0.9], seed=1)])
    assert largest_fall(runs) == pytest.approx(0.12)
    assert largest_fall(run([0.1, 0.5, 1.0, 0.2])) == 0  # after the fit it does not count
    assert largest_fall(run([0.1, 0.5, 0.98, 1.0])) == 0
    backwards = run([0.1, 0.5, 0.1])[::-1]  # whatever the order of the rows
    assert largest_fall(backwards) == pytest.approx(0.4)


def test_what_an_untrained_network_answers_may_change():
    assert largest_fall(run([0.1, 0.15, 0.05, 0.2, 0.19])) == pytest.approx(0.01)  # from 0.2 on
    assert largest_fall(run([0.1, 0.15, 0.05, 0.12])) == pytest.approx(0.1)  # it never learns


def test_two_classes_learn_from_well_below_everything():
    """Chance is 1/2, twice that is 1: a ninth of the way up is 5/9, which 0.9 has, and falls of 0.4 follow."""
    runs = run([0.5, 0.9, 0.5, 0.95, 0.55, 0.98, 1.0])
    assert largest_fall(runs) == pytest.approx(0.4)
    assert largest_fall(run([0.5, 0.55, 0.45, 0.56, 0.54])) == pytest.approx(0.02)  # from 0.56 on


def test_ten_classes_and_more_learn_from_twice_chance_on():
    assert largest_fall(run([0.1, 0.19, 0.05, 0.2, 0.17])) == pytest.approx(0.03)  # from 0.2 on
    chance = 1 / 62  # twice that, 0.032, comes before a ninth of the way, 0.125
    assert largest_fall(run([chance, 0.032, 0.01, 0.033, 0.028])) == pytest.approx(0.005)


def test_from_where_falls_count_is_a_setting():
    """Chance is 1/4: a third of the way up is 0.5, and beyond it, at 0.55, comes a fall of 0.02."""
    runs = run([0.25, 0.45, 0.4, 0.55, 0.53])
    assert largest_fall(runs, learning_share=1 / 3) == pytest.approx(0.02)
    assert largest_fall(runs, learning_share=0) == pytest.approx(0.05)


def test_a_rate_is_stable_where_no_run_of_any_labels_falls_by_more_than_the_threshold():
    table = pd.concat(
        [
            run([0.1, 0.5, 0.49, 0.9], optimizer="slow"),
            run([0.1, 0.5, 0.48, 0.9], optimizer="slow", labels="random"),
            run([0.1, 0.5, 0.49, 0.9], optimizer="fast"),
            run([0.1, 0.5, 0.47, 0.9], optimizer="fast", labels="random", seed=1),
            run([0.1, 0.5, 0.4, 0.9], optimizer="m3"),
            run([0.9, 0.1], optimizer="slow", part="test"),
        ]
    )
    assert rates_of({"accuracy": table}, SETTINGS) == {
        ("d", "net"): {"fast": LearningRate(0.3, False), "slow": LearningRate(0.1, True)}
    }


def test_a_fall_of_the_threshold_itself_is_stable_whatever_rounding_makes_of_it():
    """0.92 less 0.9 is 0.02 and a little."""
    assert SETTINGS.stable_fall < 0.92 - 0.9
    rates = rates_of({"accuracy": run([0.1, 0.92, 0.9, 1.0], optimizer="fast")}, SETTINGS)
    assert rates["d", "net"]["fast"].stable


def test_a_rate_at_which_a_run_diverged_is_not_stable():
    table = run([0.1, 0.5, float("nan")], optimizer="slow").assign(diverged=[False, False, True])
    assert rates_of({"accuracy": table}, SETTINGS)["d", "net"]["slow"].stable is False


@pytest.mark.parametrize("name", ["sweep", "confusion"])
def test_a_table_that_has_its_own_training_accuracy_says_it(name):
    table = run([0.1, 0.5, 0.3], optimizer="slow").rename(columns={"accuracy": "train_accuracy"}).drop(columns="part")
    assert rates_of({name: table}, SETTINGS) == {("d", "net"): {"slow": LearningRate(0.1, False)}}


BOTH = {("d", "net"): {"fast": LearningRate(0.3, False), "slow": LearningRate(0.1, True)}}
VALUES = pd.Series([1.0, 2.0])


def test_a_part_has_its_own_rate_and_those_at_which_its_condition_is_tested_too():
    parts = {
        "d, net, fast, noise 0": Measured(VALUES, rounding(0.0)),
        "d, net, slow, noise 0": Measured(VALUES, rounding(0.0)),
        "d, net, fast, noise 1": Measured(VALUES, rounding(0.0)),  # tested at one rate
        "elsewhere, fast": Measured(VALUES, rounding(0.0), trained=("d", "net", "fast")),
        "elsewhere, slow and other": Measured(VALUES, rounding(0.0), trained=("d", "net", "slow")),
    }
    rates = {**BOTH, ("d", "another"): {"other": LearningRate(0.2, True)}}
    found = {where: one.rates for where, one in with_rates(parts, rates).items()}
    at_slow = {"fast": LearningRate(0.3, False, here=False), "slow": LearningRate(0.1, True, here=True)}
    assert found["d, net, slow, noise 0"] == found["elsewhere, slow and other"] == at_slow
    assert found["d, net, fast, noise 1"] == {"fast": LearningRate(0.3, False)}
    assert {where: rates_in_words(rates) for where, rates in found.items()} == {
        "d, net, fast, noise 0": "0.3 (not stable); elsewhere 0.1 (stable)",
        "d, net, slow, noise 0": "0.1 (stable); elsewhere 0.3 (not stable)",
        "d, net, fast, noise 1": "one rate, 0.3 (not stable)",
        "elsewhere, fast": "0.3 (not stable); elsewhere 0.1 (stable)",
        "elsewhere, slow and other": "0.1 (stable); elsewhere 0.3 (not stable)",
    }


def test_what_is_only_reported_at_another_rate_is_not_tested_at_it():
    parts = {
        "m3 against fast": Measured(VALUES, rounding(0.0), trained=("d", "net", "fast")),
        "m3 against slow": Measured(VALUES, rounding(0.0), trained=("d", "net", "slow"), decides=False),
    }
    found = with_rates(parts, BOTH)
    assert rates_in_words(found["m3 against fast"].rates) == "one rate, 0.3 (not stable)"
    assert rates_in_words(found["m3 against slow"].rates) == "one rate, 0.1 (stable)"


@pytest.mark.parametrize("where", ["d, net, slower, noise 0", "d, net, m3 against slow, gap", "d, net"])
def test_what_is_of_no_entry_of_sgd_has_no_rate(where):
    assert with_rates({where: Measured(VALUES, rounding(0.0))}, BOTH)[where].rates is None
    assert with_rates({"d, net, slow": Exact(1.0, 0.0)}, BOTH) == {"d, net, slow": Exact(1.0, 0.0)}


def test_methods_are_compared_at_one_rate_as_far_as_it_is_known():
    assert SETTINGS.same_rate("fast", "m3", "net")
    assert not SETTINGS.same_rate("slow", "m3", "net")
    assert SETTINGS.same_rate("slow", "unknown", "net")
