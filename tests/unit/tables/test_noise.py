"""Tables on label noise from result files written out by hand."""

import numpy as np
import pytest

from mcoherence.data.store import IMAGES_SCHEMA, LABELS_SCHEMA
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.measuring.worlds import corrupt_cells
from mcoherence.study.result_names import COHERENCE_SCHEMA, CONTRIBUTIONS_SCHEMA, EVALUATION_SCHEMA, GROUPS
from mcoherence.tables.columns import dictionary
from mcoherence.tables.noise import contributions_of_run, early_stopping_table, group_alignment_of_run, overfit_table
from mcoherence.tables.sweep import sweep_table

EXPERIMENT = {"datasets": ["d"], "models": ["net"], "labels": ["noisy"], "optimizers": ["c2"], "seeds": [3]}
STEPS = np.array([0, 4, 8])
# sums of the groups' gradients at three checkpoints, one number per parameter (of two): pristine, corrupt, held-out
SUMS = np.array([[[2.0, 0], [0, 1], [1, 0]], [[3, 0], [-1, 0], [0, 2]], [[0, 0], [1, 1], [2, 2]]])
TOTALS = np.array([[[4.0, 0], [0, 9], [1, 0]], [[9, 0], [4, 0], [0, 4]], [[0, 0], [1, 3], [4, 4]]])


@pytest.fixture
def results(tmp_path):
    """A study's folder with one run on four training and four test examples of two classes."""
    run, data = tmp_path / "runs/d/net/noisy/c2/full/seed3", tmp_path / "data/d"
    labels = {
        "labels": np.array([0, 1, 1, 0]),
        "original": np.array([0, 1, 0, 1]),
        "selected": np.ones(4, dtype=bool),
        "changed": np.array([False, False, True, True]),
    }
    write_hdf5(data / "labels/noisy/seed3/labels.h5", LABELS_SCHEMA, labels, {"settings": {"scheme": "permute"}})
    write_hdf5(data / "images.h5", IMAGES_SCHEMA, {"test/targets": np.array([0, 0, 1, 1])}, {"class_names": ["a", "b"]})
    write_coherence(run / "coherence.h5", [False] * 3)
    write_evaluation(run / "evaluation.h5", [False] * 3)
    return tmp_path


def write_coherence(path, diverged):
    content = {
        "step": STEPS,
        "epoch": STEPS / 4,
        "diverged": np.array(diverged),
        "n": np.array([[2, 4, 1]] * 3),
        "sum_sq_norm": TOTALS,
        "gram": np.einsum("kgp,khp->kghp", SUMS, SUMS),
        "group": GROUPS,
    }
    write_hdf5(path, COHERENCE_SCHEMA, content, {})


def write_evaluation(path, diverged):
    content = {
        "step": STEPS,
        "epoch": STEPS / 4,
        "diverged": np.array(diverged),
        # right on 1, 2 and 4 of 4 training labels, on 1, 3 and 3 of 4 test labels
        "train/prediction": np.array([[0, 0, 0, 1], [0, 1, 0, 1], [0, 1, 1, 0]], dtype=np.int32),
        "test/prediction": np.array([[1, 1, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0]], dtype=np.int32),
        "train/loss": np.zeros((3, 4), dtype=np.float32),
        "test/loss": np.zeros((3, 4), dtype=np.float32),
    }
    write_hdf5(path, EVALUATION_SCHEMA, content, {})


def test_groups_against_each_other(results):
    table = group_alignment_of_run(results / "runs/d/net/noisy/c2/full/seed3/coherence.h5")
    table = table.set_index(["group_a", "group_b", "step"]).sort_index()
    assert set(table.index.droplevel("step")) == {
        ("pristine", "corrupt"), ("pristine", "heldout"), ("corrupt", "heldout"), ("heldout", "train"),
    }  # fmt: skip
    opposed = table.loc[("pristine", "corrupt", 4)]
    assert opposed["inner"] == -3.0
    assert opposed["cosine"] == pytest.approx(-1.0)
    assert opposed["cross_m_coherence"] == pytest.approx(-3 / np.sqrt(9 * 4))
    assert opposed["cross_alignment"] == pytest.approx(-0.5 / np.sqrt(2 * 4))
    assert table.loc[("pristine", "corrupt", 0), "cosine"] == 0.0
    assert np.isnan(table.loc[("pristine", "corrupt", 8), "cosine"])  # no gradient of pristine examples
    # train sums (2, 1), Q = 13; held-out (1, 0), Q = 1
    both = table.loc[("heldout", "train", 0)]
    assert both["cosine"] == pytest.approx(2 / np.sqrt(5))
    assert both["cross_m_coherence"] == pytest.approx(2 / np.sqrt(13))
    assert (both["n_a"], both["n_b"]) == (1, 6)


def test_overfit_by_checkpoint(results):
    experiment = EXPERIMENT | {"winsorization": {"c2": {"c": 2, "alike": 0}}}
    table = overfit_table(str(results), experiment, {"noisy": 0.8}).set_index("step")
    assert table["train_accuracy"].tolist() == [0.25, 0.5, 1.0]
    assert table["test_accuracy"].tolist() == [0.25, 0.75, 0.75]
    assert table["proper_accuracy"].to_numpy() == pytest.approx(1 - 0.8 + 0.8 / 2)
    assert set(table["pristine_share"]) == {0.5}
    assert table.loc[8, "overfit"] == pytest.approx(1.0 - (0.8 / 2 + 0.2 * 0.75))
    assert set(table["c"]) == {2.0}
    assert (table["noise"] == 0.8).all()


def test_overfit_is_undefined_for_noise_that_is_not_uniform(results):
    path = results / "data/d/labels/noisy/seed3/labels.h5"
    masks = {name: np.zeros(4, dtype=bool) for name in ("selected", "changed")}
    labels = {name: np.zeros(4, dtype=np.int64) for name in ("labels", "original")}
    write_hdf5(path, LABELS_SCHEMA, labels | masks, {"settings": {"scheme": "pair"}})
    table = overfit_table(str(results), EXPERIMENT | {"winsorization": {}}, {"noisy": 0.8})
    assert table[["overfit", "proper_accuracy", "c"]].isna().all(axis=None)
    assert table["pristine_share"].eq(1.0).all()
    assert overfit_table(str(results), EXPERIMENT | {"winsorization": {}}, {"noisy": 0.0})["overfit"].notna().all()


def test_the_best_checkpoint_is_the_first_of_equals(results):
    (row,) = early_stopping_table(str(results), EXPERIMENT, {"noisy": 0.8}).to_dict("records")
    assert (row["best_step"], row["last_step"]) == (4, 8)
    assert (row["best_epoch"], row["last_epoch"]) == (1.0, 2.0)
    assert row["best_test_accuracy"] == row["last_test_accuracy"] == 0.75
    assert row["best_m_coherence"] == pytest.approx((3 - 1) ** 2 / 13)
    assert row["last_m_coherence"] == pytest.approx((1 + 1) / 4)
    assert not row["diverged"]


def test_a_diverged_run_has_no_best_checkpoint(results):
    run = results / "runs/d/net/noisy/c2/full/seed3"
    write_coherence(run / "coherence.h5", [False, False, True])
    write_evaluation(run / "evaluation.h5", [False, False, True])
    (row,) = early_stopping_table(str(results), EXPERIMENT, {"noisy": 0.8}).to_dict("records")
    assert row["diverged"]
    for which in ("best", "last"):
        assert np.isnan([row[f"{which}_test_accuracy"], row[f"{which}_m_coherence"]]).all()


SWEEP = {
    "datasets": ["d"], "labels": ["noisy"], "optimizer": "c2", "seeds": [3], "first_step": 4,
    "models": {"width": ["net"], "depth": ["net"]}, "values": {"width": {"net": 64.0}, "depth": {"net": 2.0}},
}  # fmt: skip


def test_a_sweep_has_the_course_of_each_run_under_every_setting_that_it_is_part_of(results):
    table = sweep_table(str(results), SWEEP, {"noisy": 0.8})
    assert list(table.groupby("setting", sort=False)["value"].unique()) == [[64], [2]]
    for _, rows in table.groupby("setting"):
        assert rows["step"].tolist() == [0, 4, 8]
        assert rows["past_transient"].tolist() == [False, True, True]
        # sums of pristine and corrupt: (2, 1), (2, 0), (1, 1); their squared norms add up to 13, 13, 4
        np.testing.assert_allclose(rows["m_coherence"], [5 / 13, 4 / 13, 2 / 4])
        assert rows["train_accuracy"].tolist() == [0.25, 0.5, 1.0]
        assert rows["test_accuracy"].tolist() == [0.25, 0.75, 0.75]
    dictionary([("sweep", table.columns)])  # knows every column


def test_a_checkpoint_that_diverged_has_no_numbers_in_a_sweep(results):
    run = results / "runs/d/net/noisy/c2/full/seed3"
    write_coherence(run / "coherence.h5", [False, False, True])
    write_evaluation(run / "evaluation.h5", [False, False, True])
    table = sweep_table(str(results), SWEEP, {"noisy": 0.8})
    numbers = table[["m_coherence", "train_accuracy", "test_accuracy"]]
    assert (numbers.isna().all(axis=1) == table["diverged"]).all()
    assert table["diverged"].sum() == 2  # once in each sweep


def test_contributions_of_the_measured_world_and_a_null_world(tmp_path):
    # cells pp, cp, pc, cc with 2, 1, 1, 1 examples; their sums in one parameter and none in another, at two checkpoints
    sums = np.array([[3.0, 1.0, 2.0, -2.0], [0.0, 2.0, 0.0, 0.0]])
    gram = np.einsum("kc,kd->kcd", sums, sums)
    content = {
        "step": np.array([0, 10]),
        "epoch": np.array([0.0, 2.0]),
        "diverged": np.zeros(2, dtype=bool),
        "n": np.array([[2, 1, 1, 1]] * 2),
        "gram": np.stack([gram, np.zeros_like(gram)], axis=-1),
        "corrupt_cells": corrupt_cells(2),
    }
    write_hdf5(tmp_path / "contributions.h5", CONTRIBUTIONS_SCHEMA, content, {})
    table = contributions_of_run(tmp_path / "contributions.h5").set_index(["world", "step"])
    # S = 4: pristine 3 + 2 = 5, corrupt 1 - 2 = -1; with shuffled tags 3 + 1 = 4 and 2 - 2 = 0
    first, null = table.loc[("measured", 0)], table.loc[("null 1", 0)]
    assert (first["f_pristine"], first["f_corrupt"]) == pytest.approx((5 / 4, -1 / 4))
    assert (null["f_pristine"], null["f_corrupt"]) == pytest.approx((1.0, 0.0))
    assert (first["n_pristine"], first["n_corrupt"], null["n_pristine"]) == (3, 2, 3)
    assert (table["f_pristine"] + table["f_corrupt"]).to_numpy() == pytest.approx(1.0)
    # five examples: <g, g^p> = 5 * 4 / 25 at first, 0 at last; ten updates; three pristine examples
    last = table.loc[("measured", 10)]
    assert last["i_pristine"] == pytest.approx(10 * (20 / 25 + 0) / 2 / 3)
    assert last["i_corrupt"] == pytest.approx(10 * (-4 / 25 + 4 / 25) / 2 / 2)
    assert first["i_pristine"] == 0.0
