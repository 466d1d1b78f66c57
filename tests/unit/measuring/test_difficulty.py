"""Learning times and easy/hard splits on histories written out by hand."""

import numpy as np
import pytest

from mcoherence.data.halves import split_halves
from mcoherence.data.store import LABELS_SCHEMA
from mcoherence.data.subsets import SPLIT_SCHEMA, training_positions
from mcoherence.errors import UserError
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.measuring.difficulty import (
    forgetting_events,
    forgotten_at,
    learned_at,
    ranks_in_runs,
    score_runs,
    score_within_class,
    split_easy_hard,
)
from mcoherence.study.result_names import EVALUATION_SCHEMA

STEPS = np.array([0, 1, 4, 10])


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        pytest.param([1, 1, 1, 1], 0.0, id="always-right"),
        pytest.param([0, 1, 1, 1], 1.0, id="learned-at-1"),
        pytest.param([1, 0, 1, 1], 4.0, id="forgotten-once"),
        pytest.param([0, 1, 0, 1], 10.0, id="learned-at-the-end"),
        pytest.param([1, 1, 1, 0], np.inf, id="wrong-at-the-end"),
        pytest.param([0, 0, 0, 0], np.inf, id="never"),
    ],
)
def test_learned_at_is_the_start_of_the_last_run_of_right_answers(history, expected):
    correct = np.array(history, dtype=bool)[:, None]
    assert learned_at(correct, STEPS).tolist() == [expected]


@pytest.mark.parametrize(
    ("history", "events", "forgotten"),
    [
        pytest.param([1, 1, 1, 1], 0, np.inf, id="unforgettable"),
        pytest.param([0, 1, 1, 1], 0, np.inf, id="learned-once"),
        pytest.param([1, 0, 1, 1], 1, np.inf, id="forgotten-and-learned-again"),
        pytest.param([1, 0, 1, 0], 2, 10, id="forgotten-twice"),
        pytest.param([1, 1, 0, 0], 1, 4, id="forgotten-for-good"),
        pytest.param([0, 0, 0, 0], np.inf, 0, id="never-right"),
    ],
)
def test_forgetting_is_counted_in_events_and_timed_by_the_last_one(history, events, forgotten):
    correct = np.array(history, dtype=bool)[:, None]
    assert forgetting_events(correct).tolist() == [events]
    assert forgotten_at(correct, STEPS).tolist() == [forgotten]


def test_a_history_of_one_checkpoint_has_no_events():
    assert forgetting_events(np.array([[True, False]])).tolist() == [0, np.inf]


def test_examples_are_ranked_by_learning_time_then_loss_in_every_run():
    learned = np.array([[4.0, 1.0, np.inf, 1.0], [1.0, 1.0, 4.0, 10.0]])
    loss = np.array([[0.0, 0.9, 0.0, 0.1], [0.2, 0.1, 0.0, 0.0]])
    # run 0: order 3, 1, 0, 2; run 1: order 1, 0, 2, 3
    assert ranks_in_runs(learned, loss) == pytest.approx(np.array([[2, 1, 3, 0], [1, 0, 2, 3]]) / 3)


def reference_run(folder, predictions, loss, diverged=False):
    """The evaluation of two examples of class 1 at steps 0 and 4, and their labels."""
    evaluation, labels = folder / "evaluation.h5", folder / "labels.h5"
    datasets = {
        "step": np.array([0, 4]),
        "diverged": np.array([False, diverged]),
        "train/prediction": np.array(predictions, dtype=np.int32),
        "train/loss": np.array(loss, dtype=np.float32),
    }
    write_hdf5(evaluation, EVALUATION_SCHEMA, datasets, {})
    of_labels = {"labels": np.array([1, 1]), "original": np.array([1, 1])}
    masks = {name: np.zeros(2, dtype=bool) for name in ("selected", "changed")}
    write_hdf5(labels, LABELS_SCHEMA, of_labels | masks, {})
    return evaluation, labels


def test_the_score_is_the_mean_rank_over_the_runs_that_trained(tmp_path):
    runs = [
        reference_run(tmp_path / "a", [[0, 1], [1, 1]], [[2.0, 0.5], [1.0, 0.25]]),
        reference_run(tmp_path / "b", [[0, 1], [1, 0]], [[2.0, 0.5], [1.0, 2.5]]),
        reference_run(tmp_path / "c", [[1, 0], [-1, -1]], [[1.0, 2.0], [np.nan, np.nan]], diverged=True),
    ]
    scores = score_runs(*zip(*runs, strict=True))
    assert scores["learned_at"].tolist() == [[4, 0], [4, np.inf], [np.inf, np.inf]]
    assert scores["forgetting_events"].tolist() == [[0, 0], [0, 1], [1, np.inf]]
    assert scores["mean_loss"][:2].tolist() == [[1.5, 0.375], [1.5, 1.5]]
    assert scores["rank"][:2].tolist() == [[1, 0], [0, 1]]
    assert scores["score"].tolist() == [0.5, 0.5]
    assert scores["diverged"].tolist() == [False, False, True]


def test_a_score_needs_a_run_that_trained(tmp_path):
    one = reference_run(tmp_path, [[1, 0], [-1, -1]], [[1.0, 2.0], [np.nan, np.nan]], diverged=True)
    with pytest.raises(UserError, match=r"evaluation\.h5: the run diverged, as all 1 reference runs did, expected one"):
        score_runs(*([path] for path in one))


@pytest.mark.parametrize("size", [10, 11])
def test_halves_are_disjoint_random_and_together_everything(size):
    parts = split_halves(size, seed=1)
    half_a, half_b = parts["half_a_train"], parts["half_b_train"]
    assert sorted([*half_a, *half_b]) == list(range(size))
    assert (len(half_a), len(half_b)) == (5, size - 5)
    assert half_a.tolist() != list(range(5))
    assert not np.array_equal(half_a, split_halves(size, seed=2)["half_a_train"])


@pytest.fixture
def split():
    score = np.random.default_rng(0).permutation(100) / 100
    return score, split_easy_hard(score, fraction=0.4, test_fraction=0.25, seed=3)


def test_easy_is_easier_than_hard_and_sizes_are_exact(split):
    score, parts = split
    easy = np.concatenate([parts["easy_train"], parts["easy_test"]])
    hard = np.concatenate([parts["hard_train"], parts["hard_test"]])
    assert sorted(score[easy]) == pytest.approx(np.arange(40) / 100)
    assert sorted(score[hard]) == pytest.approx(np.arange(60, 100) / 100)
    assert {name: len(index) for name, index in parts.items()} == {
        f"{subset}_{part}": size
        for subset in ("easy", "hard", "random")
        for part, size in (("train", 30), ("test", 10))
    }


def test_no_test_part_meets_any_training_part(split):
    _, parts = split
    train = set().union(*(parts[f"{name}_train"] for name in ("easy", "hard", "random")))
    test = set().union(*(parts[f"{name}_test"] for name in ("easy", "hard", "random")))
    assert not train & test


def test_within_classes_each_is_shared_out_alike():
    classes = np.repeat([0, 1, 2], [50, 30, 20])
    score = classes + np.random.default_rng(0).random(100)  # class by class, so that the score itself sorts classes
    parts = split_easy_hard(score_within_class(score, classes), fraction=0.5, test_fraction=0.2, seed=0)
    easy = np.concatenate([parts["easy_train"], parts["easy_test"]])
    assert np.bincount(classes[easy]).tolist() == [25, 15, 10]
    for one in range(3):
        hard = np.setdiff1d(np.flatnonzero(classes == one), easy)
        assert score[easy][classes[easy] == one].max() < score[hard].min()


def test_ranks_within_classes_by_hand():
    score, classes = np.array([0.9, 0.1, 0.5, 0.2, 0.2]), np.array([0, 0, 0, 1, 1])
    assert score_within_class(score, classes) == pytest.approx([5 / 6, 1 / 6, 3 / 6, 1 / 4, 3 / 4])


def test_the_control_is_drawn_from_everything(split):
    score, parts = split
    chosen = score[np.concatenate([parts["random_train"], parts["random_test"]])]
    assert len(set(chosen)) == 40
    for low, high in ((0.0, 0.4), (0.4, 0.6), (0.6, 1.0)):  # easy, middle and hard examples alike
        assert np.any((chosen >= low) & (chosen < high))


def test_the_seed_decides_the_split():
    score = np.zeros(50)  # all ties: the order itself is random
    first, again, other = (split_easy_hard(score, 0.5, 0.2, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["easy_train"], other["easy_train"])


def test_training_positions_are_everything_or_the_named_subset(split, tmp_path):
    _, parts = split
    path = tmp_path / "split.h5"
    write_hdf5(path, SPLIT_SCHEMA, parts, {})
    assert training_positions([], "full", 4).tolist() == [0, 1, 2, 3]
    assert np.array_equal(training_positions([path], "hard", 100), parts["hard_train"])


def test_the_second_stage_trains_on_the_other_half(tmp_path):
    path = tmp_path / "halves.h5"
    write_hdf5(path, SPLIT_SCHEMA, {"half_a_train": np.array([0, 2]), "half_b_train": np.array([1, 3])}, {})
    trained = {
        name: training_positions([path], name, 4).tolist()
        for name in ("half_a", "half_b_after_a", "half_b", "half_a_after_b")
    }
    assert trained == {"half_a": [0, 2], "half_b_after_a": [1, 3], "half_b": [1, 3], "half_a_after_b": [0, 2]}


@pytest.mark.parametrize(("fraction", "test_fraction"), [(1e-9, 0.2), (0.5, 1e-9), (0.5, 1 - 1e-9)])
def test_a_split_with_an_empty_part_is_refused(fraction, test_fraction):
    with pytest.raises(
        UserError, match=rf"^easy_hard\.fraction: found {fraction} of 40 examples, which leaves \d+ to train"
    ):
        split_easy_hard(np.arange(40.0), fraction, test_fraction, seed=0)
