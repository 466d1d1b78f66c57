"""How well scores find changed labels: against scikit-learn, and by hand where examples tie."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mcoherence.tables.label_errors import SCORES, auroc, detections, false_negatives


def test_auroc_is_that_of_scikit_learn_with_ties():
    draw = np.random.default_rng(0)
    for levels in (2, 5, 1000):
        trust, changed = draw.integers(0, levels, 200).astype(float), draw.random(200) < 0.2
        assert auroc(trust, changed) == pytest.approx(roc_auc_score(changed, -trust), abs=1e-12)


def test_auroc_by_hand():
    changed = np.array([True, True, False, False])
    assert auroc(np.array([0.0, 1, 2, 3]), changed) == 1
    assert auroc(np.array([3.0, 2, 1, 0]), changed) == 0
    assert auroc(np.zeros(4), changed) == 0.5
    assert auroc(np.array([0.0, 2, 1, 3]), changed) == 0.75  # of four pairs one is the wrong way round


def test_false_negatives_by_hand():
    changed = np.array([True, True, False, False, False])
    assert false_negatives(np.array([0.0, 1, 2, 3, 4]), changed) == 0
    assert false_negatives(np.array([0.0, 3, 2, 1, 4]), changed) == 0.5
    # the least trusted is wrong; of the next three, which tie, one is looked at, and one of them is wrong
    assert false_negatives(np.array([0.0, 1, 1, 1, 4]), changed) == pytest.approx(1 - (1 + 1 / 3) / 2)
    assert false_negatives(np.zeros(5), changed) == pytest.approx(1 - 2 / 5)


@pytest.mark.parametrize("changed", [[False] * 3, [True] * 3])
def test_without_wrong_or_without_right_labels_nothing_can_be_said(changed):
    assert np.isnan(auroc(np.arange(3.0), np.array(changed)))
    assert np.isnan(false_negatives(np.arange(3.0), np.array(changed)))


def test_a_row_for_each_score_of_each_run(described):
    examples = pd.DataFrame(
        [
            {"dataset": "d", "model": "net", "labels": "wrong", "noise": 0.5, "optimizer": "sgd", "subset": "full"}
            | {"seed": seed, "changed": number < 2, "diverged": seed == 1}
            | {"batch_norm": "sample" if seed == 0 else "none"}
            | {column: np.nan if seed == 1 else float(number) for column in SCORES.values()}
            for seed in (0, 1)
            for number in range(4)
        ]
    )
    examples.loc[examples["seed"] == 0, "margin_mean"] = [3.0, 2, 1, 0]
    found = detections(examples, {"wrong": "pair"})
    described("label_errors", found)
    assert list(zip(found["ranked_by"], found["over"], strict=True)) == [*SCORES] * 2
    first = found[found["seed"] == 0].set_index(["ranked_by", "over"])
    assert (first["auroc"].drop(("margin", "mean")) == 1).all()
    assert first.loc[("margin", "mean"), ["auroc", "false_negatives"]].tolist() == [0, 1]
    assert first.loc[("loss", "last"), ["scheme", "n", "wrong", "diverged"]].tolist() == ["pair", 4, 2, False]
    # what is read off predictions has running statistics, whatever the gradients were measured by
    of_predictions = first["batch_norm"].index.get_level_values("ranked_by").isin(["forgetting", "second_split"])
    assert (first.loc[of_predictions, "batch_norm"] == "running").all()
    assert (first.loc[~of_predictions, "batch_norm"] == "sample").all()
    assert (found.loc[found["seed"] == 1, "batch_norm"] == "none").all()
    second = found[found["seed"] == 1]
    assert second["diverged"].all()
    assert second[["auroc", "false_negatives"]].isna().all(axis=None)
