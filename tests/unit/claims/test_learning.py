"""Claims about what is learned when: how a time is read off checkpoints."""

import math

import pandas as pd
import pytest

from mcoherence.claims.learning import time_grows_with_noise
from mcoherence.claims.rows import log10_time_to_reach
from mcoherence.claims.settings import ClaimSettings


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        ((0.1, 0.5, 1.0), 1 + 0.8),  # 0.9 is 4/5 of the way from 0.5 to 1.0, between steps 10 and 100
        ((0.95, 1.0, 1.0), 0.0),
        ((0.1, 0.2, 0.3), 2.0),
        ((0.1, 0.9, 0.5), 1.0),
    ],
)
def test_time_to_reach_an_accuracy_is_interpolated_on_a_log_axis(accuracy, expected):
    time = log10_time_to_reach(0.9, pd.Series([1, 10, 100]), pd.Series(accuracy))
    assert time == pytest.approx(expected)


def test_gaps_between_checkpoints_before_any_run_gets_there_do_not_count():
    """From step 1 to 100 nothing is known of a time; all runs reach 0.9 after 100, at checkpoints a tenth apart."""
    names = {"dataset": "d", "model": "net", "subset": "full", "optimizer": "sgd", "part": "train"}
    curves = {0.0: (0.1, 0.5, 0.95, 1.0), 1.0: (0.1, 0.5, 0.85, 0.95)}
    accuracy = pd.DataFrame(
        [
            names | {"labels": f"noise {noise:g}", "noise": noise, "seed": seed, "step": step, "accuracy": value}
            for noise, values in curves.items()
            for seed in (0, 1)
            for step, value in zip((1, 100, 110, 121), values, strict=True)
        ]
    )
    settings = ClaimSettings(confidence=0.95, first_step=None, target_accuracy=0.9, methods={"sgd": "sgd"})
    (part,) = time_grows_with_noise({"accuracy": accuracy}, settings).values()
    assert part.resolution == pytest.approx(math.log10(1.1))
