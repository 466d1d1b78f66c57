"""Tables about easy and hard examples, from result files written out by hand."""

import numpy as np
import pytest

from mcoherence.coherence import cosine_of_sums, cross_alignment
from mcoherence.data.store import LABELS_SCHEMA
from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.measuring.difficulty import DIFFICULTY_SCHEMA, ranks_in_runs
from mcoherence.study.result_names import DIFFICULTY_COHERENCE_SCHEMA, EVALUATION_SCHEMA
from mcoherence.tables.difficulty import (
    agreement_table,
    agreements_of,
    difficulty_coherence_of_run,
    difficulty_table,
    easiest,
    overlap,
    rank_correlation,
    right_at_one_checkpoint,
)

EXPERIMENT = {
    "datasets": ["d"], "models": ["net"], "labels": "noisy", "optimizer": "sgd", "reference_seeds": [0, 1],
    "fraction": 0.5,
}  # fmt: skip
LABELS = np.array([0, 1, 1, 0])
HISTORY = {  # predictions at steps 0, 10, 20 by subset; examples 0 and 3 are half a
    "full": [[0, 1, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]],
    "half_a": [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]],
    "half_b": [[1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]],
    "half_b_after_a": [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]],
    "half_a_after_b": [[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 0, 0]],
}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Two reference runs with the same history, the second of which diverged, and both stages of the halves."""
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        masks = {"selected": LABELS == 1, "changed": LABELS == 1}
        content = {"labels": LABELS, "original": np.zeros(4, dtype=np.int64), **masks}
        write_hdf5(tmp_path / f"results/data/d/labels/noisy/seed{seed}/labels.h5", LABELS_SCHEMA, content, {})
        for subset, predictions in HISTORY.items():
            evaluation = {
                "step": np.array([0, 10, 20]),
                "train/prediction": np.array(predictions, dtype=np.int32),
                "diverged": np.array([False, False, seed == 1 and subset == "half_a"]),
            }
            path = tmp_path / f"results/runs/d/net/noisy/sgd/{subset}/seed{seed}/evaluation.h5"
            write_hdf5(path, EVALUATION_SCHEMA, evaluation, {})
    halves = {"half_a_train": np.array([0, 3]), "half_b_train": np.array([1, 2])}
    write_hdf5(tmp_path / "results/splits/d/halves.h5", SPLIT_SCHEMA, halves, {})
    difficulty = {
        "learned_at": np.array([[0, 20, 10, np.inf], [0, 0, 0, 0]]),
        "forgetting_events": np.array([[0, 1, 0, np.inf], [0, 0, 0, 0]]),
        "mean_loss": np.ones((2, 4)),
        "rank": np.array([[0, 2, 1, 3], [0, 1, 2, 3]]) / 3,
        "score": np.array([0, 2, 1, 3]) / 3,
        "diverged": np.array([False, True]),
    }
    write_hdf5(tmp_path / "results/difficulty/d/net/difficulty.h5", DIFFICULTY_SCHEMA, difficulty, {})
    return "results"


def test_difficulty_has_a_row_per_run_and_example(results):
    table = difficulty_table(results, EXPERIMENT | {"second_split": False}, {"noisy": 0.5})
    assert list(table.columns[:8]) == ["dataset", "model", "labels", "noise", "optimizer", "subset", "seed", "example"]
    assert len(table) == 8
    first = table[table["seed"] == 0]
    assert first["label"].tolist() == [0, 1, 1, 0]
    assert first["changed"].tolist() == [False, True, True, False]
    assert first["learned_at"].tolist() == [0, 20, 10, np.inf]
    assert first["forgetting_events"].tolist() == [0, 1, 0, np.inf]
    assert first["score"].tolist() == pytest.approx([0, 2 / 3, 1 / 3, 1])
    assert table["diverged"].tolist() == [False] * 4 + [True] * 4
    assert table["second_split_forgotten_at"].isna().all()


def test_an_example_is_learned_on_its_own_half_and_forgotten_on_the_other(results):
    table = difficulty_table(results, EXPERIMENT | {"second_split": True}, {"noisy": 0.5})
    first = table[table["seed"] == 0]
    # half a (0 and 3): right from 0, and from 10; then on half b wrong from 10, and never wrong
    # half b (1 and 2): right from 10, and from 0; then on half a right at the end, and wrong from 20
    assert first["first_split_learned_at"].tolist() == [0, 10, 0, 10]
    assert first["second_split_forgotten_at"].tolist() == [10, np.inf, 20, np.inf]


def test_a_diverged_stage_says_nothing_about_its_half(results):
    table = difficulty_table(results, EXPERIMENT | {"second_split": True}, {"noisy": 0.5})
    second = table[table["seed"] == 1]
    assert second["second_split_forgotten_at"].isna().tolist() == [True, False, False, True]


def test_agreement_leaves_diverged_runs_out(results):
    table = agreement_table(results, EXPERIMENT, {"noisy": 0.5})
    assert table["other"].tolist() == ["one checkpoint"]  # no other run to compare with
    # right answers at the three checkpoints: 2, 2, 3 of 4 -> the first with half: 0 and 1; the easiest two: 0 and 2
    assert table[["easy_overlap", "chance", "step"]].to_numpy().tolist() == [[0.5, 0.5, 0]]


def test_agreement_of_three_runs_worked_by_hand():
    learned = np.array([[1.0, 2, 3, 4], [1, 2, 4, 3], [4, 3, 2, 1]])
    rank = ranks_in_runs(learned, np.zeros((3, 4)))
    rows = agreements_of(0, [5, 6, 7], rank, learned, np.zeros((3, 4), dtype=int), fraction=0.5)
    assert list(rows) == ["6", "7", "other seeds", "all seeds"]
    assert rows["6"]["spearman"] == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert rows["7"]["spearman"] == pytest.approx(-1)
    assert [rows[name]["easy_overlap"] for name in ("6", "7")] == [1, 0]
    assert rows["6"]["chance"] == 0.5
    # of the others: mean ranks 3, 3, 4, 2 (thirds) -> easiest 3 and, by position, 0
    assert rows["other seeds"]["easy_overlap"] == 0.5
    assert rows["all seeds"]["spearman"] == pytest.approx(0.8)  # of all: mean ranks 3, 4, 6, 5 (thirds)
    assert rows["6"]["spearman_learned_at"] == pytest.approx(0.8)
    assert np.isnan(rows["other seeds"]["spearman_learned_at"])


def test_agreement_compares_examples_with_the_same_label_only():
    rank = np.array([[0, 1, 2, 3, 4], [4, 0, 1, 2, 3]]) / 4
    labels = np.array([[7, 7, 7, 7, 7], [8, 7, 7, 7, 7]])
    row = agreements_of(0, [0, 1], rank, rank, labels, fraction=0.5)["1"]
    assert (row["n"], row["spearman"], row["easy_overlap"], row["chance"]) == (4, pytest.approx(1), 1, 0.5)


def test_the_easy_examples_of_one_checkpoint_are_those_that_are_right_there():
    correct = np.array([[0, 0, 0, 0, 1], [1, 0, 1, 0, 0], [1, 1, 1, 1, 0]], dtype=bool)
    rank = np.array([0, 1, 2, 3, 4]) / 4
    row = right_at_one_checkpoint(rank, correct, np.array([0, 4, 9]), fraction=0.5)
    # shares 0.2, 0.4, 0.8: the second; right there are 0 and 2, the easiest two 0 and 1
    assert (row["step"], row["easy_overlap"], row["chance"]) == (4, 0.5, 0.4)


def test_the_easiest_of_equal_examples_are_the_first():
    assert easiest(np.array([2.0, 1, 1, 1]), 2).tolist() == [False, True, True, False]
    assert np.isnan(overlap(np.zeros(2, dtype=bool), np.ones(2, dtype=bool)))


def test_rank_correlation_is_pearsons_of_the_mean_ranks():
    first, second = np.array([1.0, 1, 4, np.inf, np.inf]), np.array([2.0, 1, 1, 8, 4])
    expected = np.corrcoef([1.5, 1.5, 3, 4.5, 4.5], [3, 1.5, 1.5, 5, 4])[0, 1]
    assert rank_correlation(first, second) == pytest.approx(expected)
    assert np.isnan(rank_correlation(first, np.ones(5)))


def test_coherence_within_and_across_groups_from_gradients(tmp_path):
    """Against per-example gradients: means of inner products of pairs, one by one."""
    generator = np.random.default_rng(0)
    gradients = {"easy_train": generator.normal(size=(3, 5)) + 1, "hard_train": generator.normal(size=(4, 5))}
    sums = np.stack([g.sum(axis=0) for g in gradients.values()])
    norms = np.stack([np.square(g).sum(axis=0) for g in gradients.values()])
    content = {
        "step": np.array([3]), "epoch": np.array([0.5]), "diverged": np.array([False]), "group": list(gradients),
        "n": np.array([[3, 4]]), "sum_sq_norm": norms[None], "gram": np.einsum("gp,hp->ghp", sums, sums)[None],
    }  # fmt: skip
    write_hdf5(tmp_path / "difficulty_coherence.h5", DIFFICULTY_COHERENCE_SCHEMA, content, {})
    table = difficulty_coherence_of_run(tmp_path / "difficulty_coherence.h5").set_index(["group", "other"])
    easy, hard = gradients.values()
    within = table.loc[("easy_train", "easy_train")]
    products = easy @ easy.T
    assert within["m_coherence"] == pytest.approx(products.sum() / np.trace(products))
    others = [products[i, j] for i in range(3) for j in range(3) if i != j]
    assert within["alignment"] == pytest.approx(np.mean(others) / np.mean(np.diag(products)))
    assert (within["cosine"], within["n"]) == (1, 3)
    across = table.loc[("easy_train", "hard_train")]
    energies = [np.mean(np.square(g).sum(axis=1)) for g in (easy, hard)]
    assert across["alignment"] == pytest.approx(np.mean(easy @ hard.T) / np.sqrt(np.prod(energies)))
    means = [g.mean(axis=0) for g in (easy, hard)]
    assert across["cosine"] == pytest.approx(means[0] @ means[1] / np.prod([np.linalg.norm(g) for g in means]))
    assert np.isnan(across["m_coherence"])
    assert len(table) == 3


def test_agreement_of_gradients_that_vanish_is_missing():
    assert np.isnan(cosine_of_sums(0.0, 0.0, 1.0))
    assert np.isnan(cross_alignment(0.0, 0.0, 1.0, 3, 3))
    assert cross_alignment(6 * 4.0, 2 * 4.0, 3 * 4.0, 2, 3) == pytest.approx(
        1
    )  # two and three times one gradient of norm 2
