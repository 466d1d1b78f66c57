"""The rows that statistics are taken of."""

import numpy as np
import pandas as pd
import pytest

from mcoherence.claims.rows import early, early_windows, log_spacing, of_sgd, past_transient
from mcoherence.claims.settings import ClaimSettings

SETTINGS = ClaimSettings(
    confidence=0.95, first_step=None, target_accuracy=0.9, methods={"slow": "sgd", "fast": "sgd", "m3": "m3"}
)
STEPS = [0, 1, 3, 7, 15, 31, 63]
FALLING_FIRST = [500, 60, 8, 4, 4, 60, 1]
RISING_FIRST = [2, 2, 2, 5, 30, 8, 1]


def run(m_coherence, seed=0, **names):
    return pd.DataFrame({"model": "net", "seed": seed, "step": STEPS, "m_coherence": m_coherence} | names)


def test_each_run_is_past_the_transient_that_its_own_curve_shows():
    table = pd.concat([run(FALLING_FIRST), run(RISING_FIRST, seed=1)])
    kept = past_transient(table, SETTINGS)
    assert kept.groupby("seed")["step"].min().tolist() == [7, 0]
    assert len(kept) == 4 + 7


def test_layers_are_past_the_transient_of_the_curve_that_is_named():
    layers = pd.concat([run(RISING_FIRST, layer=name) for name in ("first", "last")])
    kept = past_transient(layers, SETTINGS, run(FALLING_FIRST))
    assert kept.groupby("layer")["step"].min().tolist() == [7, 7]


def test_groups_of_one_run_have_transients_of_their_own():
    groups = pd.concat([run(FALLING_FIRST, group="easy"), run(RISING_FIRST, group="hard")])
    assert past_transient(groups, SETTINGS, by=("group",)).groupby("group")["step"].min().to_dict() == {
        "easy": 7, "hard": 0,
    }  # fmt: skip


def test_a_study_can_set_the_step_itself():
    settings = ClaimSettings(confidence=0.95, first_step=15, target_accuracy=0.9, methods={})
    assert past_transient(run(FALLING_FIRST), settings)["step"].tolist() == [15, 31, 63]


def test_a_transient_without_an_end_leaves_no_rows():
    assert past_transient(run([500, 60, 8, 4, 4, 4, 4]), SETTINGS).empty


def scores(accuracies, seed=0, noise=0.0, optimizer="slow", steps=(0, 10, 100, 1000)):
    names = {"dataset": "d", "model": "net", "optimizer": optimizer, "part": "pristine"}
    return pd.DataFrame({"step": steps, "accuracy": accuracies, "seed": seed, "noise": noise, "labels": "set"} | names)


def test_early_is_until_the_runs_with_the_least_noise_are_half_way_from_chance_to_the_target():
    accuracy = pd.concat(
        [
            scores([0.2, 0.3, 0.7, 0.9], seed=0),  # before training 0.1 in the mean, so half-way at 0.5: step 10^1.5
            scores([0.0, 0.5, 0.9, 0.9], seed=1),  # step 10
            scores([0.1, 0.1, 0.1, 0.9], noise=0.5),
            scores([0.1, 0.5, 0.9, 0.9], optimizer="fast", noise=0.5),  # no less noise at this rate
            scores([0.1, 0.9, 0.9, 0.9], noise=1.0, optimizer="m3"),
        ]
    )
    windows = early_windows(accuracy, SETTINGS)
    assert windows == pytest.approx({("d", "net", "slow"): 10**1.25, ("d", "net", "fast"): 10})
    table = scores([0, 0, 0, 0], steps=(0, 10, 17, 18))
    assert early(table, windows)["step"].tolist() == [0, 10, 17]
    assert early(table.assign(optimizer="m3"), windows).empty


def test_nothing_is_early_where_all_labels_are_random():
    assert early_windows(scores([0.1, 0.5, 0.9, 1.0], noise=1.0), SETTINGS) == {}


def test_the_share_of_the_way_is_a_setting():
    settings = ClaimSettings(
        confidence=0.95, first_step=None, target_accuracy=0.9, methods={"slow": "sgd"}, early_share=1.0
    )
    windows = early_windows(scores([0.1, 0.5, 0.9, 1.0]), settings)
    assert windows == pytest.approx({("d", "net", "slow"): 100})


def test_a_network_has_a_place_under_every_entry_of_sgd():
    table = pd.DataFrame({"dataset": "d", "model": "net", "optimizer": ["slow", "m3", "fast", "slow"]})
    assert {where: rows.index.tolist() for where, rows in of_sgd(table, SETTINGS)} == {
        "d, net, fast": [2], "d, net, slow": [0, 3],
    }  # fmt: skip


def test_the_spacing_is_the_widest_gap_of_checkpoints_on_a_log_axis():
    assert log_spacing(pd.Series([0, 1, 10, 10, 40])) == pytest.approx(1.0)
    assert log_spacing(pd.Series([0, 4])) == 0.0
    assert np.isfinite(log_spacing(pd.Series([], dtype=np.int64)))
