"""Prevention, delay, both or neither, on tables whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from mcoherence.claims.median_scale import findings, prevention_or_delay, statement
from mcoherence.claims.settings import ClaimSettings

SETTINGS = ClaimSettings(0.95, 0, 0.9, {}, equivalence_margin=0.02)
SGD = {0: (0.50, 10.0), 1: (0.52, 12.0), 2: (0.48, 11.0)}  # seed -> corrupt accuracy at equal fit, time


def rows(method, by_seed, **other):
    """Rows of the table median_scale: at the chosen rate, of seeds that are reported."""
    return pd.DataFrame(
        [
            {
                "dataset": "d", "model": "net", "labels": "half", "noise": 0.5, "optimizer": method, "subset": "full",
                "seed": seed, "method": method, "reference": method == "sgd", "batch_size": 12, "tuning": False,
                "chosen": True, "per_class": 0.4, "corrupt_at_fit": corrupt, "memorised_epoch": time,
                "end_epoch": 88.0, "diverged": False,
            }
            | other
            for seed, (corrupt, time) in by_seed.items()
        ]
    )  # fmt: skip


def with_sgd(fewer, factor, spread=0.0):
    """A method that has fitted so many fewer corrupt labels, and takes so many times as long; `spread` over seeds."""
    own = {seed: (corrupt - fewer + spread * (seed - 1), factor * time) for seed, (corrupt, time) in SGD.items()}
    return pd.concat([rows("sgd", SGD), rows("m3", own)], ignore_index=True)


@pytest.mark.parametrize(
    ("fewer", "factor", "expected"),
    [
        (0.3, 2.0, "prevention and delay"),
        (0.3, 1.1, "prevention"),
        (0.01, 2.0, "delay"),
        (0.0, 1.0, "neither"),
        (-0.3, 0.5, "neither"),
    ],
)
def test_a_finding_follows_from_both_differences(fewer, factor, expected):
    (found,) = findings(with_sgd(fewer, factor))
    assert found.words(0.95, 0.02) == expected
    assert found.fewer.tolist() == pytest.approx([fewer] * 3)
    assert found.longer.tolist() == pytest.approx([np.log2(factor)] * 3)


def test_what_varies_too_much_over_seeds_is_open():
    assert findings(with_sgd(0.1, 1.0, spread=0.3))[0].words(0.95, 0.02) == "open"
    assert findings(with_sgd(0.1, 2.0, spread=0.3))[0].words(0.95, 0.02) == "delay, else open"
    one_seed = with_sgd(0.3, 2.0).query("seed == 0")
    assert findings(one_seed)[0].words(0.95, 0.02) == "open"


def test_a_method_that_never_memorises_counts_with_the_whole_run_and_sgd_that_does_not_is_not_compared():
    table = with_sgd(0.3, np.inf)
    (found,) = findings(table)
    assert found.never == 3
    assert found.longer.tolist() == pytest.approx(np.log2([88 / 10, 88 / 12, 88 / 11]).tolist())
    table.loc[(table["method"] == "sgd") & (table["seed"] == 1), "memorised_epoch"] = np.inf
    assert list(findings(table)[0].longer.index) == [0, 2]


def test_only_chosen_rates_and_reported_seeds_count():
    other = dict.fromkeys(SGD, (0.9, 1.0))
    table = pd.concat(
        [
            with_sgd(0.3, 2.0),
            rows("m3", other, chosen=False),
            rows("m3", {100: (0.9, 1.0)}, tuning=True),
            rows("rm3", other, chosen=False),
        ],
        ignore_index=True,
    )
    (found,) = findings(table)
    assert found.method == "m3"
    assert found.fewer.tolist() == pytest.approx([0.3] * 3)


def test_the_statement_counts_settings_and_names_their_groups():
    other = with_sgd(0.0, 1.0).assign(batch_size=60, per_class=2.0)
    found = findings(pd.concat([with_sgd(0.0, 2.0), other], ignore_index=True))
    assert statement(found, 0.95, 0.02) == {
        "m3": "of 2 settings delay in 1 (0.4 per class), neither in 1 (2 per class)"
    }


def test_the_claim_reports_both_numbers_with_the_finding_in_words():
    parts = prevention_or_delay({"median_scale": with_sgd(0.3, 2.0)}, SETTINGS)
    means, settings = list(parts)[:2], list(parts)[2:]
    assert means == ["m3, mean of all settings, prevention", "m3, mean of all settings, delay"]
    assert settings == ["d, net, m3, batches of 12, prevention", "d, net, m3, batches of 12, delay"]
    assert {parts[where].note for where in settings} == {"prevention and delay; 0.4 examples of a class in a group"}
    assert parts[means[1]].per_seed.tolist() == pytest.approx([1.0] * 3)
    assert parts[means[1]].note == "of 1 settings prevention and delay in 1 (0.4 per class)"
