"""The overfit measure and the proper accuracy, by hand."""

import numpy as np
import pytest

from mcoherence.tables.memorization import overfit, proper_accuracy


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
