"""The best checkpoint against the last one, from result files written out by hand."""

import numpy as np
import pytest

from mcoherence.tables.early_stopping import table


def test_the_best_checkpoint_is_the_first_of_equals(measured, described):
    found = table(measured.results, [measured.run], measured.noise)
    described("early_stopping", found)
    (row,) = found.to_dict("records")
    assert (row["best_step"], row["last_step"]) == (4, 8)
    assert (row["best_epoch"], row["last_epoch"]) == (1.0, 2.0)
    assert row["best_test_accuracy"] == row["last_test_accuracy"] == 0.75
    assert row["best_m_coherence"] == pytest.approx((3 - 1) ** 2 / 13)
    assert row["last_m_coherence"] == pytest.approx((1 + 1) / 4)
    # of six examples
    assert (row["best_alpha"], row["last_alpha"]) == pytest.approx((4 / 13 / 6, 0.5 / 6))
    alignments = row["best_pairwise_alignment"], row["last_pairwise_alignment"]
    assert alignments == pytest.approx(((4 / 13 - 1) / 5, (0.5 - 1) / 5))
    assert row["batch_norm"] == "sample"
    assert not row["diverged"]


def test_a_diverged_run_has_no_best_checkpoint(measured):
    measured.write([False, False, True])
    (row,) = table(measured.results, [measured.run], measured.noise).to_dict("records")
    assert row["diverged"]
    for which in ("best", "last"):
        numbers = ("test_accuracy", "m_coherence", "alpha", "pairwise_alignment")
        assert np.isnan([row[f"{which}_{name}"] for name in numbers]).all()


def test_only_what_is_evaluated_can_be_the_best(measured):
    measured.write_evaluation([[0, 0, 0, 1], [0, 1, 1, 0]], [[1, 1, 0, 1], [0, 0, 1, 0]], steps=[0, 8])  # and not 4
    (row,) = table(measured.results, [measured.run], measured.noise).to_dict("records")
    assert (row["best_step"], row["best_epoch"], row["last_step"]) == (8, 2.0, 8)
    assert row["best_m_coherence"] == row["last_m_coherence"] == pytest.approx((1 + 1) / 4)
