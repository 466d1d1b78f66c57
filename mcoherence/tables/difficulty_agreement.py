"""How far reference runs agree on which examples are hard.

Index letters: K checkpoints, N examples, R reference runs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from mcoherence.study.runs import Run
from mcoherence.tables.columns import ALL_SEEDS, ONE_CHECKPOINT, OTHER_SEEDS, Column
from mcoherence.tables.difficulty import difficulty_of
from mcoherence.tables.inputs import labels_of, training_answers
from mcoherence.tables.runs import by_network, run_columns

COLUMNS = {
    "spearman": Column("correlation", "rank correlation of the ranks"),
    "spearman_learned_at": Column("correlation", "rank correlation of the learning times"),
    "easy_overlap": Column("share", "examples called easy that the other calls easy too"),
    "chance": Column("share", "that overlap as expected by chance"),
}


def table(results: str, runs: Sequence[Run], noise: Mapping[str, float], *, fraction: float) -> pd.DataFrame:
    """How far reference runs agree on what is hard: one row per run and what it is compared with; no diverged runs.

    Columns: run, other, n (examples compared), spearman (rank correlation of the ranks of the table difficulty),
    spearman_learned_at (of the learning times alone, ties averaged; between two seeds only, else NaN), easy_overlap
    (share of one side's easy examples that the other calls easy too), chance (that share for unrelated choices: the
    share called easy), step (of the one checkpoint, else NaN). `other` is

    - a seed: that of another reference run;
    - "other seeds": the mean rank over all other reference runs;
    - "all seeds": the score that the split is made from, in which the run itself has a part;
    - "one checkpoint": the run's own answers at one moment, as arXiv 2003.07422 splits; `right_at_one_checkpoint`.

    Args:
        results: the study's folder.
        runs: the reference runs, those of a network beside each other.
        noise: label set -> fraction of random labels.
        fraction: share called easy.
    """
    rows = []
    for dataset, model, references in by_network(runs):
        with difficulty_of(results, dataset, model) as file:
            trained = np.flatnonzero(~file["diverged"][:])
            rank, learned = file["rank"][:][trained], file["learned_at"][:][trained]
        compared = [references[position] for position in trained]
        every_label = [labels_of(results, run) for run in compared]
        labels = np.stack([one.labels for one in every_label])
        for position, run in enumerate(compared):
            seeds = [one.seed for one in compared]
            agreements = agreements_of(position, seeds, rank, learned, labels, fraction)
            step, correct, _ = training_answers(results, run, every_label[position])
            agreements[ONE_CHECKPOINT] = right_at_one_checkpoint(rank[position], correct, step, fraction)
            rows += [run_columns(run, noise) | {"other": other} | row for other, row in agreements.items()]
    return pd.DataFrame(rows)


def agreements_of(
    position: int,
    seeds: list[int],
    rank: NDArray[np.float64],
    learned: NDArray[np.float64],
    labels: NDArray[np.int64],
    fraction: float,
) -> dict[str, dict[str, float]]:
    """Agreement of one reference run with each other one, with all others together, and with all, by `other`.

    Compared are the examples that carry the same label in all runs concerned: with another label an image is another
    example.

    Args:
        position: of the run in the arrays.
        seeds: of the R runs.
        rank: float64 [R, N].
        learned: `difficulty.learned_at`, float64 [R, N].
        labels: that the runs trained on, int64 [R, N].
        fraction: share called easy.
    """
    others = [index for index in range(len(seeds)) if index != position]
    compared = {str(seeds[index]): [index] for index in others}
    if others:
        compared |= {OTHER_SEEDS: others, ALL_SEEDS: [position, *others]}
    rows = {}
    for name, members in compared.items():
        same = (labels[members] == labels[position]).all(axis=0)
        own, other = rank[position][same], rank[members][:, same].mean(axis=0)
        count = int(fraction * len(own))
        times = (learned[index][same] for index in (position, *members))
        rows[name] = {
            "n": len(own),
            "spearman": rank_correlation(own, other),
            "spearman_learned_at": rank_correlation(*times) if name not in (OTHER_SEEDS, ALL_SEEDS) else np.nan,
            "easy_overlap": overlap(easiest(own, count), easiest(other, count)),
            "chance": count / max(len(own), 1),
            "step": np.nan,
        }
    return rows


def right_at_one_checkpoint(
    rank: NDArray[np.float64], correct: NDArray[np.bool_], steps: NDArray[np.int64], fraction: float
) -> dict[str, float]:
    """Agreement of a run's ranking with its own answers at one checkpoint.

    Source: arXiv 2003.07422 calls the examples easy that are right after two epochs, about half of ImageNet. Here the
    checkpoint is the one whose share of right answers is nearest to `fraction`, and compared with what is right there
    are as many of the run's easiest examples.

    Args:
        rank: float64 [N].
        correct: bool [K, N].
        steps: int64 [K].
        fraction: share called easy.
    """
    nearest = int(np.argmin(np.abs(correct.mean(axis=1) - fraction)))
    count = int(correct[nearest].sum())
    return {
        "n": len(rank),
        "spearman": np.nan,
        "spearman_learned_at": np.nan,
        "easy_overlap": overlap(correct[nearest], easiest(rank, count)),
        "chance": count / len(rank),
        "step": float(steps[nearest]),
    }


def easiest(rank: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Mask of the `count` examples of lowest rank, bool [N]; of equal ones the first."""
    mask = np.zeros(len(rank), dtype=np.bool_)
    mask[np.argsort(rank, kind="stable")[:count]] = True
    return mask


def overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Share of the first set that is in the second; NaN where the first is empty."""
    return float(second[first].mean()) if first.any() else np.nan


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's rank correlation, equal values with their mean rank; NaN where either is constant or nearly empty."""
    if len(first) < 2 or len(set(first)) < 2 or len(set(second)) < 2:
        return np.nan
    return float(spearmanr(first, second).statistic)
