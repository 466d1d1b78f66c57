"""The rows that statistics are taken of."""

import numpy as np
import pandas as pd
import pytest

from mcoherence.claims.rows import early, log_spacing, of_sgd, past_transient
from mcoherence.claims.settings import ClaimSettings

SETTINGS = ClaimSettings(
    confidence=0.95, first_step=8, target_accuracy=0.9, methods={"slow": "sgd", "fast": "sgd", "m3": "m3"}
)


def test_early_is_from_the_end_of_the_transient_through_epoch_five():
    table = pd.DataFrame({"step": [0, 7, 8, 50, 51], "epoch": [0, 0.7, 0.8, 5.0, 5.1]})
    assert past_transient(table, SETTINGS).index.tolist() == [2, 3, 4]
    assert early(table, SETTINGS).index.tolist() == [2, 3]


def test_a_network_has_a_place_under_every_entry_of_sgd():
    table = pd.DataFrame({"dataset": "d", "model": "net", "optimizer": ["slow", "m3", "fast", "slow"]})
    assert {where: rows.index.tolist() for where, rows in of_sgd(table, SETTINGS)} == {
        "d, net, fast": [2], "d, net, slow": [0, 3],
    }  # fmt: skip


def test_the_spacing_is_the_widest_gap_of_checkpoints_on_a_log_axis():
    assert log_spacing(pd.Series([0, 1, 10, 10, 40])) == pytest.approx(1.0)
    assert log_spacing(pd.Series([0, 4])) == 0.0
    assert np.isfinite(log_spacing(pd.Series([], dtype=np.int64)))
