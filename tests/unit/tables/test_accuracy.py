"""Accuracy and loss by part, from predictions written out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from mcoherence.tables.accuracy import accuracy_of_run, table


def test_accuracy_by_part(study):
    study.write_evaluation(train=[[0, 1, 0, 1], [0, 0, 1, 0]], test=[[0, 1, 1, 0], [0, 0, 1, 1]])
    rows = accuracy_of_run(study.results, study.run).set_index(["part", "step"])
    # against labels 0 1 1 0: right right wrong wrong, then right wrong right right
    assert rows["accuracy"].to_dict() == {
        ("train", 0): 0.5, ("train", 10): 0.75, ("pristine", 0): 1.0, ("pristine", 10): 0.5,
        ("corrupt", 0): 0.0, ("corrupt", 10): 1.0, ("test", 0): 0.5, ("test", 10): 1.0,
    }  # fmt: skip
    assert rows.loc[("corrupt", 10), "loss"] == pytest.approx((6 + 7) / 2)
    assert rows.loc[("pristine", 0), "n"] == 2


def test_a_part_without_examples_is_missing_not_zero(study):
    study.write_labels(labels=[0, 1, 1, 0], original=[0, 1, 1, 0])
    study.write_evaluation(train=[[0, 1, 0, 1]], test=[[0, 0, 0, 0]])
    rows = accuracy_of_run(study.results, study.run).set_index("part")
    assert rows.loc["corrupt", "n"] == 0
    assert np.isnan(rows.loc["corrupt", "accuracy"])


def test_a_diverged_checkpoint_is_missing_and_marked(study):
    study.write_evaluation([[0, 1, 0, 1], [-1] * 4], [[0] * 4, [-1] * 4], diverged=[False, True])
    rows = accuracy_of_run(study.results, study.run)
    assert rows["diverged"].tolist() == rows["accuracy"].isna().tolist() == [False, True] * 4


def test_the_table_has_its_runs_in_their_order_by_name(study, described):
    first, second = (replace(study.run, optimizer=name) for name in ("z", "a"))
    for run in (first, second):
        study.write_evaluation([[0, 1, 0, 1]], [[0] * 4], run=run)
    found = table(study.results, [first, second], study.noise)
    assert found["optimizer"].tolist() == ["z"] * 4 + ["a"] * 4
    assert list(found)[:8] == ["dataset", "model", "labels", "noise", "optimizer", "subset", "seed", "step"]
    assert set(found["noise"]) == {0.8}
    described("accuracy", found)


def test_of_a_sample_the_labels_of_its_examples_count(study):
    study.write_evaluation(train=[[1, 0], [1, 1]], test=[[0, 0, 1, 1]] * 2, index=[1, 2])  # labels 1 (pristine) and 1
    rows = accuracy_of_run(study.results, study.run).set_index(["step", "part"])
    assert rows.loc[(0, "train"), ["n", "accuracy"]].tolist() == [2, 0.5]
    assert rows.loc[(0, "pristine"), ["n", "accuracy"]].tolist() == [1, 1.0]
    assert rows.loc[(0, "corrupt"), ["n", "accuracy"]].tolist() == [1, 0.0]
    assert rows.loc[(10, "corrupt"), ["n", "accuracy", "loss"]].tolist() == [1, 1.0, 3.0]
    assert rows.loc[(0, "test"), "n"] == 4
