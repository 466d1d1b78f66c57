"""The table on gradient confusion, from inner products written out by hand."""

import numpy as np
import pytest

from mcoherence.files.hdf5 import write_hdf5
from mcoherence.study.result_names import CONFUSION_SCHEMA
from mcoherence.tables.confusion import cosines, mini_batch_statistics, table

STRUCTURE = {"net": {"architecture": "deep_mlp", "width": 8.0, "depth": 2.0, "normalised": False, "skip": True}}
# three mini-batches' gradients in two dimensions
START = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]])


def test_cosines_are_of_every_pair_once():
    gram = np.stack([START @ START.T, np.zeros((3, 3))])
    found = cosines(gram)
    np.testing.assert_allclose(found[0], [0.0, -(0.5**0.5), -(0.5**0.5)])
    assert np.isnan(found[1]).all()  # no gradient, no angle


def test_a_run_has_its_pairs_least_and_quantiles(measured, described):
    measured.write([False, False, True])
    gram = np.stack([START @ START.T, np.ones((3, 3)), np.full((3, 3), np.nan)])
    content = {"step": np.array([0, 4, 8]), "epoch": np.array([0.0, 1, 2]), "diverged": np.array([False, False, True])}
    content |= {"gram": gram, "sample/index": np.arange(6).reshape(3, 2)}
    write_hdf5(measured.file("confusion"), CONFUSION_SCHEMA, content, {})
    found = table(measured.results, [measured.run], measured.noise, structures=STRUCTURE)
    described("confusion", found)
    assert found["min_cosine"].tolist() == pytest.approx([-(0.5**0.5), 1, np.nan], nan_ok=True)
    assert found["median_cosine"].tolist()[:2] == pytest.approx([-(0.5**0.5), 1])
    assert found["cosine_95"].iloc[0] == pytest.approx(-0.1 * 0.5**0.5)  # a tenth of the way from 0 to the middle one
    assert found["confusion"].tolist() == pytest.approx([2, 0, np.nan], nan_ok=True)  # -2 of the second and third
    assert found["negative"].tolist() == pytest.approx([2 / 3, 0, np.nan], nan_ok=True)
    assert (found["pairs"] == 3).all()
    assert (found["batch_norm"] == "none").all()
    assert found["train_accuracy"].tolist() == pytest.approx([0.25, 0.5, np.nan], nan_ok=True)
    assert found.loc[0, ["architecture", "width", "depth", "normalised", "skip"]].tolist() == [
        "deep_mlp", 8, 2, False, True,
    ]  # fmt: skip


def test_batch_norm_of_a_network_that_has_it_is_that_of_the_mini_batch():
    assert mini_batch_statistics({"normalised": True}) == "minibatch"
    assert mini_batch_statistics({"normalised": False}) == "none"
