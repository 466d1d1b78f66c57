"""Accuracy from either start, of the whole training part and of its easy and hard examples."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.study.runs import study_file
from mcoherence.tables.adversarial_start import table


def test_accuracy_by_start_and_part(study, described):
    members = {"easy_train": [0], "easy_test": [1], "hard_train": [2], "hard_test": [3]}
    split = {name: np.array(positions) for name, positions in members.items()}
    write_hdf5(Path(study_file(study.results, "split", dataset="d", model="net")), SPLIT_SCHEMA, split, {})
    fresh, late = (replace(study.run, optimizer=name) for name in ("sgd", "after_noise"))
    # fresh: right on the easy ones, then on all; after noise: on one of the hard ones, then diverged
    study.write_evaluation([[0, 1, 0, 1], [0, 1, 1, 0]], [[1, 0, 1, 1]] * 2, run=fresh)
    study.write_evaluation([[1, 0, 1, 1], [-1] * 4], [[0] * 4, [-1] * 4], diverged=[False, True], run=late)
    found = table(study.results, [fresh, late], study.noise, optimizer="sgd")
    described("adversarial_start", found)
    accuracy = found.set_index(["start", "part", "step"])["accuracy"]
    assert accuracy["fresh"].to_dict() == {
        ("train", 0): 0.5, ("train", 10): 1.0, ("test", 0): 0.75, ("test", 10): 0.75,
        ("easy", 0): 1.0, ("easy", 10): 1.0, ("hard", 0): 0.0, ("hard", 10): 1.0,
    }  # fmt: skip
    assert accuracy["adversarial"].xs(0, level="step").to_dict() == {
        "train": 0.25,
        "test": 0.5,
        "easy": 0.0,
        "hard": 0.5,
    }
    assert accuracy["adversarial"].xs(10, level="step").isna().all()
