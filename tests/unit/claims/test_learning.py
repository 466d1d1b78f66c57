"""Claims about what is learned when: how a time is read off checkpoints."""

import pandas as pd
import pytest

from mcoherence.claims.rows import log10_time_to_reach


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
