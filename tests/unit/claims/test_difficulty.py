"""Statements about easy and hard examples, on small tables with known answers."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from mcoherence.claims.difficulty import probability_of_more
from mcoherence.claims.measured import rates_in_words
from mcoherence.claims.registry import claims_of
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.testing import check_claims

SETTINGS = ClaimSettings(confidence=0.95, first_step=8, target_accuracy=0.9, methods={"sgd": "sgd"})
RUN = {"dataset": "d", "model": "net", "labels": "noisy", "noise": 0.5, "optimizer": "sgd"}


def parts(identifier, **tables):
    (statement,) = (one for one in claims_of("mcoherence.claims") if one.id == identifier)
    assert set(statement.tables) <= set(tables)
    return {where: part.per_seed.to_dict() for where, part in statement.parts(tables, SETTINGS).items()}


@pytest.fixture
def coherence():
    """Coherence that is 1 outside of steps 8 to 32, and cosines far off from step 99 on: reading there would show."""
    rows = []
    for subset, seed, (step, epoch) in product(
        ("full", "easy", "hard"), (3, 4), ((0, 0.0), (8, 0.7), (32, 3.0), (99, 9))
    ):
        early = step in (8, 32)
        place = {**RUN, "subset": subset, "seed": seed, "step": step, "epoch": epoch}
        for kind, m_coherence in (("easy", 100.0), ("hard", 10.0 if step == 8 else 1.0)):
            value = m_coherence * (seed - 2) if early else 1.0
            group = f"{kind}_train"
            rows.append({**place, "group": group, "other": group, "m_coherence": value, "cosine": 1.0})
        for pair, cosine in (
            (("easy_train", "easy_test"), 0.9),
            (("easy_train", "hard_test"), 0.25),
            (("hard_train", "hard_test"), 0.5),
        ):
            group, other = sorted(pair)  # whichever way round
            shift = 0.1 * (subset != "full") if step < 99 else 9.0
            rows.append({**place, "group": group, "other": other, "m_coherence": np.nan, "cosine": cosine - shift})
    return pd.DataFrame(rows)


@pytest.fixture
def accuracy():
    """Half-way from 0.1 to the target at step 40."""
    rows = [
        {**RUN, "seed": seed, "step": step, "part": "pristine", "accuracy": value}
        for seed in (3, 4)
        for step, value in ((0, 0.1), (40, 0.5), (99, 1.0))
    ]
    return pd.DataFrame(rows)


def test_early_coherence_of_easy_over_hard_is_taken_on_the_reference_runs(coherence, accuracy):
    # log10 100 - mean(log10 10, log10 1)
    found = parts("E1", difficulty_coherence=coherence, accuracy=accuracy)
    assert found == {"d, net": {3: pytest.approx(1.5), 4: pytest.approx(1.5)}}


def test_an_easy_step_is_asked_about_hard_examples_where_only_easy_ones_are_trained_on(coherence, accuracy):
    found = parts("E2", difficulty_coherence=coherence, accuracy=accuracy)
    assert found["d, net"] == {3: pytest.approx(0.15), 4: pytest.approx(0.15)}


def test_carrying_over_compares_each_kind_in_its_own_runs(coherence, accuracy):
    found = parts("E3", difficulty_coherence=coherence, accuracy=accuracy)
    assert found["d, net"] == {3: pytest.approx(0.4), 4: pytest.approx(0.4)}


@pytest.mark.parametrize("identifier", ["E1", "E2", "E3"])
def test_what_gradients_show_says_the_learning_rate_and_whether_it_is_stable(coherence, accuracy, identifier):
    """Training accuracies 0.1, 0.5 and 1.0: nothing falls. Another rate of the study is not tested here."""
    training = pd.concat([accuracy, accuracy.assign(part="train")])
    tables = {"difficulty_coherence": coherence, "accuracy": pd.concat([training, training.assign(optimizer="slow")])}
    settings = replace(SETTINGS, methods={"sgd": "sgd", "slow": "sgd"}, rates={"sgd": {"net": 0.3}, "slow": {"net": 1}})
    (statement,) = (one for one in claims_of("mcoherence.claims") if one.id == identifier)
    (claim,) = check_claims(tables, settings, [statement])
    assert [(part.where, rates_in_words(part.rates)) for part in claim.parts] == [("d, net", "one rate, 0.3 (stable)")]


def test_agreement_is_what_exceeds_chance():
    rows = [
        {**RUN, "seed": seed, "other": other, "easy_overlap": overlap, "chance": 0.5, "n": 41}
        for seed, other, overlap in (
            (0, "other seeds", 0.8),
            (0, "1", 0.1),
            (1, "other seeds", 0.7),
            (1, "all seeds", 1),
        )
    ]
    assert parts("E4", difficulty_agreement=pd.DataFrame(rows))["d, net"] == {
        0: pytest.approx(0.3),
        1: pytest.approx(0.2),
    }


def test_corrupt_examples_are_compared_pair_by_pair():
    table = pd.DataFrame(
        {
            **RUN,
            "seed": 0,
            "changed": [True, True, False, False],
            "rank": [1.0, 0.4, 0.6, 0.0],
            "forgetting_events": [np.inf, 1, 1, 0],
            "second_split_forgotten_at": [5, np.inf, np.inf, 9],
        }
    )
    # of four pairs: 3 harder; 3 and a tie forgotten more often; first: 2, then a tie and a loss
    assert parts("E5", difficulty=table)["d, net"] == {0: pytest.approx(0.75 - 0.5)}
    assert parts("E6", difficulty=table)["d, net"] == {0: pytest.approx(3.5 / 4 - 0.5)}
    assert parts("E7", difficulty=table)["d, net"] == {0: pytest.approx(2.5 / 4 - 0.5)}


def test_statements_about_corrupt_examples_need_some_and_forgetting_needs_second_stages():
    table = pd.DataFrame({**RUN, "seed": 0, "changed": [False, True], "rank": 0.5, "second_split_forgotten_at": np.nan})
    assert parts("E7", difficulty=table) == {}
    assert parts("E5", difficulty=table.assign(changed=False)) == {}


def test_probability_of_more_is_the_share_of_pairs():
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 5, 20).astype(float), generator.integers(0, 4, 30).astype(float)
    first[0] = second[0] = np.inf
    pairs = [(a > b) + 0.5 * (a == b) for a in first for b in second]
    assert probability_of_more(first, second) == pytest.approx(np.mean(pairs))
    assert np.isnan(probability_of_more(first[:0], second))
