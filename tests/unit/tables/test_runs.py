"""Tidy tables from result files written out by hand."""

import numpy as np
import pytest

from mcoherence.data.store import LABELS_SCHEMA, read_labels
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.study.result_names import COHERENCE_SCHEMA, EVALUATION_SCHEMA, GROUPS
from mcoherence.tables.runs import accuracy_of_run, coherence_of_run, learning_time_table

RUN = "results/runs/d/net/noisy/sgd"


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.h5"
    content = {
        "labels": np.array([0, 1, 1, 0]),
        "original": np.array([0, 1, 0, 1]),
        "selected": np.array([True, False, True, True]),
        "changed": np.array([False, False, True, True]),
    }
    write_hdf5(path, LABELS_SCHEMA, content, {})
    return path


def write_evaluation(path, train_prediction, test_prediction, diverged=None):
    steps = np.arange(len(train_prediction)) * 10
    write_hdf5(
        path,
        EVALUATION_SCHEMA,
        {
            "step": steps,
            "diverged": np.array(diverged or [False] * len(steps)),
            "epoch": steps / 4,
            "train/prediction": np.array(train_prediction, dtype=np.int32),
            "test/prediction": np.array(test_prediction, dtype=np.int32),
            "train/loss": np.arange(len(train_prediction) * 4, dtype=np.float32).reshape(-1, 4),
            "test/loss": np.zeros((len(train_prediction), 2), dtype=np.float32),
        },
        {},
    )


def test_accuracy_by_part(tmp_path, labels):
    path = tmp_path / "evaluation.h5"
    write_evaluation(path, [[0, 1, 0, 1], [0, 0, 1, 0]], [[5, 5], [5, 6]])
    table = accuracy_of_run(path, read_labels(labels), np.array([5, 6])).set_index(["part", "step"])
    # against labels 0 1 1 0: right right wrong wrong, then right wrong right right
    assert table["accuracy"].to_dict() == {
        ("train", 0): 0.5, ("train", 10): 0.75, ("pristine", 0): 1.0, ("pristine", 10): 0.5,
        ("corrupt", 0): 0.0, ("corrupt", 10): 1.0, ("test", 0): 0.5, ("test", 10): 1.0,
    }  # fmt: skip
    assert table.loc[("corrupt", 10), "loss"] == pytest.approx((6 + 7) / 2)
    assert table.loc[("pristine", 0), "n"] == 2


def test_a_part_without_examples_is_missing_not_zero(tmp_path, labels):
    path = tmp_path / "evaluation.h5"
    write_evaluation(path, [[0, 1, 0, 1]], [[5, 5]])
    clean = read_labels(labels)
    clean = type(clean)(clean.labels, clean.original, clean.selected, np.zeros(4, dtype=bool))
    table = accuracy_of_run(path, clean, np.array([5, 6])).set_index("part")
    assert table.loc["corrupt", "n"] == 0
    assert np.isnan(table.loc["corrupt", "accuracy"])


def test_a_diverged_checkpoint_is_missing_and_marked(tmp_path, labels):
    path = tmp_path / "evaluation.h5"
    write_evaluation(path, [[0, 1, 0, 1], [-1, -1, -1, -1]], [[5, 5], [-1, -1]], diverged=[False, True])
    table = accuracy_of_run(path, read_labels(labels), np.array([5, 6]))
    assert table["diverged"].tolist() == table["accuracy"].isna().tolist() == [False, True] * 4


def test_learning_times_by_group(tmp_path, labels, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / RUN / "full/seed3"
    folder.mkdir(parents=True)
    # learned at 0, at 10, never (right, then forgotten), at 20
    write_evaluation(folder / "evaluation.h5", [[0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 0, 0]], [[5, 5]] * 3)
    target = tmp_path / "results/data/d/labels/noisy/seed3"
    target.mkdir(parents=True)
    labels.rename(target / "labels.h5")
    experiment = {"datasets": ["d"], "models": ["net"], "labels": ["noisy"], "optimizers": ["sgd"], "seeds": [3]}
    table = learning_time_table("results", experiment, {"noisy": 0.75}).set_index("group")
    assert table["n"].to_dict() == {"all": 4, "pristine": 2, "corrupt": 2}
    assert table["learned"].to_dict() == {"all": 0.75, "pristine": 1.0, "corrupt": 0.5}
    assert table["median_step"].to_dict() == {"all": 20.0, "pristine": 10.0, "corrupt": np.inf}
    assert set(table["noise"]) == {0.75}
    assert set(table["seed"]) == {3}


def test_coherence_of_groups_their_union_and_layers(tmp_path):
    path = tmp_path / "coherence.h5"
    # one checkpoint, three parameters in two layers; the groups' gradient sums, one number per parameter
    sums = np.array([[1.0, 2.0, 3.0], [4.0, 0.0, -1.0], [0.0, 0.0, 2.0]])
    write_hdf5(
        path,
        COHERENCE_SCHEMA,
        {
            "step": np.array([7]),
            "epoch": np.array([0.5]),
            "diverged": np.array([False]),
            "n": np.array([[2, 3, 1]]),
            "sum_sq_norm": np.array([[[1.0, 3.0, 5.0], [9.0, 1.0, 2.0], [0.0, 0.0, 4.0]]]),
            "gram": np.einsum("gp,hp->ghp", sums, sums)[None],
            "group": GROUPS,
            "layer": ["conv", "output"],
            "layer_type": ["Conv2d", "Linear"],
            "parameter_layer": np.array([0, 0, 1]),
        },
        {},
    )
    table = coherence_of_run(path).set_index(["group", "layer"])
    assert table.loc[("pristine", "conv"), "m_coherence"] == pytest.approx((1 + 4) / (1 + 3))
    assert table.loc[("train", "conv"), "m_coherence"] == pytest.approx((5**2 + 2**2) / (1 + 3 + 9 + 1))
    assert table.loc[("train", "model"), "sq_norm_of_sum"] == pytest.approx(25 + 4 + 4)
    assert table.loc[("train", "model"), "n"] == 5
    assert table.loc[("heldout", "model"), "m_coherence"] == pytest.approx(1.0)
    assert np.isnan(table.loc[("heldout", "conv"), "m_coherence"])
    assert table.loc[("train", "model"), "alpha"] == pytest.approx(33 / 21 / 5)
    assert table.loc[("train", "model"), "pairwise_alignment"] == pytest.approx((33 / 21 - 1) / 4)
