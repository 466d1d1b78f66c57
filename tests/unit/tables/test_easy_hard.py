"""Trained on a part, tested on held-out examples of every part, from result files written out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.study.runs import study_file
from mcoherence.tables.easy_hard import table


@pytest.fixture
def on_easy(study):
    """A run on easy examples, of a study whose held-out examples are 0 (easy), 1 and 2 (hard), 3 (random)."""
    split = {"easy_test": np.array([0]), "hard_test": np.array([1, 2]), "random_test": np.array([3])}
    write_hdf5(Path(study_file(study.results, "split", dataset="d", model="net")), SPLIT_SCHEMA, split, {})
    return replace(study.run, subset="easy")


def test_held_out_examples_are_scored_at_the_last_checkpoint(study, on_easy, described):
    # at the last step right on 0, 2 and 3 of the training part, on 1, 2 and 3 of the test part
    study.write_evaluation([[1, 0, 0, 1], [0, 0, 1, 0]], [[0] * 4, [1, 0, 1, 1]], run=on_easy)
    found = table(study.results, [on_easy], study.noise)
    described("easy_hard", found)
    assert set(found["train_subset"]) == {"easy"}
    rows = found.set_index("test_subset")
    assert rows["accuracy"].to_dict() == {"easy": 1.0, "hard": 0.5, "random": 1.0, "original": 0.75}
    assert rows["n"].to_dict() == {"easy": 1, "hard": 2, "random": 1, "original": 4}
    assert rows["loss"].to_dict() == {"easy": 4.0, "hard": 5.5, "random": 7.0, "original": 0.0}


def test_a_run_that_diverged_has_no_accuracy(study, on_easy):
    study.write_evaluation([[0] * 4, [-1] * 4], [[0] * 4, [-1] * 4], diverged=[False, True], run=on_easy)
    rows = table(study.results, [on_easy], study.noise)
    assert rows["diverged"].all()
    assert rows["accuracy"].isna().all()
