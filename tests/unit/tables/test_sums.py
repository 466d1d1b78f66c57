"""Sums of gradients by the names of groups and layers, against those of the gradients themselves."""

import numpy as np
import pytest

from mcoherence.errors import UserError
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.study.result_names import COHERENCE_SCHEMA, DIFFICULTY_COHERENCE_SCHEMA
from mcoherence.tables.sums import Sums

PRISTINE, CORRUPT, HELDOUT = SUMS = np.array([[1.0, 2, 3], [4, 0, -1], [0, 0, 2]])
TOTALS = np.array([[1.0, 3, 5], [9, 1, 2], [0, 0, 4]])


@pytest.fixture
def sums(study):
    study.write_coherence([SUMS], [TOTALS], n=[2, 3, 1], steps=[7])
    return Sums.read(study.file("coherence"), COHERENCE_SCHEMA)


def test_groups_are_found_by_name_and_train_is_two_of_them(sums):
    assert sums.groups == ("pristine", "corrupt", "heldout")
    assert sums.inner("pristine", "heldout") == PRISTINE @ HELDOUT
    assert sums.inner("train", "heldout") == (PRISTINE + CORRUPT) @ HELDOUT
    assert sums.inner("train", "train") == np.square(PRISTINE + CORRUPT).sum()
    assert sums.total("train") == TOTALS[:2].sum()
    assert [sums.count(group).tolist() for group in ("pristine", "train", "heldout")] == [[2], [5], [1]]


def test_a_layer_has_its_own_parameters(sums):
    assert list(sums.layers) == ["conv", "output"]
    assert sums.layer_types == {"conv": "Conv2d", "output": "Linear"}
    assert sums.inner("pristine", "corrupt", "conv") == 1 * 4 + 2 * 0
    assert sums.inner("pristine", "corrupt", "output") == 3 * -1
    assert sums.total("corrupt", "conv") == 9 + 1


def test_over_parameters_the_whole_network_has_the_same_sums(sums):
    whole = sums.over_parameters()
    assert whole.gram.shape == (1, 3, 3, 1)
    for a, b in (("pristine", "heldout"), ("train", "train"), ("heldout", "train")):
        assert whole.inner(a, b) == sums.inner(a, b)  # whole numbers, so whatever the order
    assert whole.total("train") == sums.total("train")
    assert whole.count("train") == sums.count("train")
    assert not whole.layers


def test_the_three_measures_of_a_group_stand_together(sums):
    """Train: S = (5, 2, 2), Q = 21, n = 5; its layer conv: S = (5, 2), Q = 14. Held-out: one example, so no pair."""
    whole = sums.measures("train")
    assert list(whole) == ["m_coherence", "alpha", "pairwise_alignment"]
    assert [values.tolist() for values in whole.values()] == [[33 / 21], [33 / 21 / 5], [(33 / 21 - 1) / 4]]
    layer = sums.measures("train", "conv")
    assert [values.tolist() for values in layer.values()] == [[29 / 14], [29 / 14 / 5], [(29 / 14 - 1) / 4]]
    alone = sums.measures("heldout")
    assert (alone["m_coherence"], alone["alpha"]) == (1, 1)
    assert np.isnan(alone["pairwise_alignment"])


@pytest.mark.parametrize("statistics", ["running", "sample", "minibatch", "none"])
def test_a_file_says_by_what_batch_norm_normalised(tmp_path, sums_of, statistics):
    content = sums_of(["train"], [SUMS[:1]], [TOTALS[:1]], n=[2], steps=[7])
    said = {"batch_norm": {"statistics": statistics, "layers": []}}
    write_hdf5(tmp_path / "coherence.h5", COHERENCE_SCHEMA, content, said)
    assert Sums.read(tmp_path / "coherence.h5", COHERENCE_SCHEMA).batch_norm == statistics


def test_a_file_from_before_there_was_a_choice_has_running_statistics(tmp_path, sums_of):
    content = sums_of(["train"], [SUMS[:1]], [TOTALS[:1]], n=[2], steps=[7])
    write_hdf5(tmp_path / "coherence.h5", COHERENCE_SCHEMA, content, {})
    assert Sums.read(tmp_path / "coherence.h5", COHERENCE_SCHEMA).batch_norm == "running"


def test_groups_of_other_files_have_the_names_that_these_give_them(tmp_path, sums_of):
    content = sums_of(["easy_train", "hard_train"], [SUMS[:2]], [TOTALS[:2]], n=[2, 3], steps=[7])
    write_hdf5(tmp_path / "difficulty_coherence.h5", DIFFICULTY_COHERENCE_SCHEMA, content, {})
    sums = Sums.read(tmp_path / "difficulty_coherence.h5", DIFFICULTY_COHERENCE_SCHEMA)
    assert sums.inner("easy_train", "hard_train") == PRISTINE @ CORRUPT
    with pytest.raises(UserError, match=r"found mcoherence/difficulty_coherence/2, expected mcoherence/coherence/2"):
        Sums.read(tmp_path / "difficulty_coherence.h5", COHERENCE_SCHEMA)
