"""The overfit measure and the proper accuracy, by hand and from result files."""

import numpy as np
import pytest

from mcoherence.tables.overfit import overfit, proper_accuracy, table


@pytest.mark.parametrize(("noise", "expected"), [(0.0, 1.0), (0.5, 0.55), (0.75, 0.325), (1.0, 0.1)])
def test_proper_accuracy_with_ten_classes(noise, expected):
    assert proper_accuracy(noise, 10) == pytest.approx(expected)


def test_overfit_is_training_accuracy_beyond_what_the_test_accuracy_accounts_for():
    # 0.9 - (0.5 / 10 + 0.5 * 0.8)
    assert overfit(0.9, 0.8, 0.5, 10) == pytest.approx(0.45)
    assert overfit(0.97, 0.95, 0.0, 10) == pytest.approx(0.02)  # without noise the plain gap
    assert overfit(1.0, 0.1, 1.0, 10) == pytest.approx(0.9)


def test_a_network_that_knows_only_the_true_labels_does_not_overfit():
    noise = np.array([0.0, 0.25, 0.5, 1.0])
    assert overfit(proper_accuracy(noise, 4), 1.0, noise, 4) == pytest.approx(np.zeros(4))


def test_overfit_by_checkpoint(measured, described):
    family = {"c2": {"c": 2, "alike": 0}}
    found = table(measured.results, [measured.run], {"noisy": 0.8}, winsorization=family)
    described("overfit", found)
    rows = found.set_index("step")
    assert rows["train_accuracy"].tolist() == [0.25, 0.5, 1.0]
    assert rows["test_accuracy"].tolist() == [0.25, 0.75, 0.75]
    assert rows["proper_accuracy"].to_numpy() == pytest.approx(1 - 0.8 + 0.8 / 2)
    assert set(rows["pristine_share"]) == {0.5}
    assert rows.loc[8, "overfit"] == pytest.approx(1.0 - (0.8 / 2 + 0.2 * 0.75))
    assert (set(rows["c"]), set(rows["alike"])) == ({2.0}, {0})
    assert (rows["noise"] == 0.8).all()


def test_overfit_is_undefined_for_noise_that_is_not_uniform(measured):
    measured.write_labels(labels=[0] * 4, original=[0] * 4, scheme="pair")
    rows = table(measured.results, [measured.run], {"noisy": 0.8}, winsorization={})
    assert rows[["overfit", "proper_accuracy", "c"]].isna().all(axis=None)
    assert rows["pristine_share"].eq(1.0).all()
    assert table(measured.results, [measured.run], {"noisy": 0.0}, winsorization={})["overfit"].notna().all()
