"""The table of single examples, from scores written out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.study.result_names import EXAMPLE_SCORES_SCHEMA, GRADIENT_SCORES, LOGIT_SCORES
from mcoherence.study.runs import study_file
from mcoherence.tables.examples import table

# predictions of four examples with the labels 0, 1, 1, 0 at steps 0, 10 and 20 of each run; examples 0 and 3 are half a
PREDICTIONS = {
    "full": [[0, 1, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]],
    "half_a": [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]],
    "half_b": [[1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]],
    "half_b_after_a": [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]],
    "half_a_after_b": [[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 0, 0]],
}


@pytest.fixture
def scored(study, normalised):
    """Writes the results of a run whose scores at epochs 0, 1 and 3 are 100, 1 and 4 times those of the example."""

    def write(diverged=(False, False, False), lost="none"):
        for subset, predictions in PREDICTIONS.items():
            run = replace(study.run, subset=subset)
            ended = [False, False, subset == lost]
            study.write_evaluation(predictions, [[0] * 4] * 3, ended, run=run)
        halves = {"half_a_train": np.array([0, 3]), "half_b_train": np.array([1, 2])}
        write_hdf5(Path(study_file(study.results, "halves", dataset="d")), SPLIT_SCHEMA, halves, {})
        content = {"step": np.array([0, 10, 20]), "epoch": np.array([0.0, 1.0, 3.0]), "diverged": np.array(diverged)}
        for number, name in enumerate((*GRADIENT_SCORES, *LOGIT_SCORES), start=1):
            content[name] = np.outer([100.0, 1.0, 4.0], number * np.arange(1.0, 5.0))
        write_hdf5(study.file("example_scores"), EXAMPLE_SCORES_SCHEMA, content, normalised)
        return table(study.results, [study.run], study.noise)

    return write


def test_scores_are_of_the_end_and_of_training_and_more_is_more_trusted(scored, described):
    rows = scored()
    described("examples", rows)
    assert rows["index"].tolist() == [0, 1, 2, 3]
    assert rows[["label", "original"]].to_numpy().tolist() == [[0, 0], [1, 1], [1, 0], [0, 1]]
    assert rows["changed"].tolist() == [False, False, True, True]
    assert (rows["batch_norm"] == "sample").all()
    place = {name: number for number, name in enumerate((*GRADIENT_SCORES, *LOGIT_SCORES), start=1)}
    known = {"class_cosine": "class_cosine", "class_product": "class_dot", "all_cosine": "all_cosine"}
    known |= {"all_product": "all_dot", "margin": "margin", "confidence": "confidence"}
    for score, name in known.items():  # the mean is of epochs 1 and 3, and not of the start
        assert rows[f"{score}_last"].tolist() == [4 * place[name] * one for one in (1, 2, 3, 4)]
        assert rows[f"{score}_mean"].tolist() == [2.5 * place[name] * one for one in (1, 2, 3, 4)]
    assert rows["loss_last"].tolist() == [-4 * place["loss"] * one for one in (1, 2, 3, 4)]
    assert rows["el2n_mean"].tolist() == [-2.5 * place["el2n"] * one for one in (1, 2, 3, 4)]
    assert rows["gradient_norm_last"].tolist() == pytest.approx([-2, -(8**0.5), -(12**0.5), -4])
    assert rows["gradient_norm_mean"].tolist() == pytest.approx([-1.5 * one**0.5 for one in (1, 2, 3, 4)])
    assert rows["variability"].tolist() == [-1.5 * place["confidence"] * one for one in (1, 2, 3, 4)]


def test_forgetting_is_finite_and_never_to_be_forgotten_counts_most(scored):
    rows = scored()
    # right, right, right; right, wrong, right; wrong, right, right; never right in three checkpoints
    assert rows["forgetting"].tolist() == [0, -1, 0, -3]
    # half a, while b is trained on: wrong from step 10; never wrong at the end. Half b: never wrong at the end; from 20
    assert rows["second_split"].tolist() == [10, 21, 20, 21]


def test_a_run_that_diverged_has_no_scores(scored):
    rows = scored(diverged=[False, False, True])
    assert rows["diverged"].all()
    assert rows.filter(regex="_last|_mean|variability|forgetting|second_split").isna().all(axis=None)


def test_a_half_whose_training_diverged_has_no_second_split(scored):
    rows = scored(lost="half_a")
    assert rows["second_split"].isna().tolist() == [True, False, False, True]
    assert rows["loss_last"].notna().all()
