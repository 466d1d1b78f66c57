"""Tidy tables about easy and hard examples: how hard each is, how far runs agree on it, and how their gradients agree.

Every table begins with the columns that name a run, as those of `mcoherence.tables.runs` do.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations_with_replacement, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from mcoherence.coherence import cosine_of_sums, cross_alignment, m_coherence, pairwise_alignment
from mcoherence.data.store import Labels, read_labels
from mcoherence.data.subsets import FIRST_STAGE, SPLIT_SCHEMA, TRAINED_HALF
from mcoherence.files.hdf5 import open_hdf5, read_names
from mcoherence.measuring.difficulty import DIFFICULTY_SCHEMA, forgotten_at, learned_at
from mcoherence.study.result_names import DIFFICULTY_COHERENCE_SCHEMA, EVALUATION_SCHEMA
from mcoherence.study.runs import Run, difficulty_coherence_runs, reference_runs
from mcoherence.tables.runs import run_columns

ALL_SEEDS, OTHER_SEEDS, ONE_CHECKPOINT = "all seeds", "other seeds", "one checkpoint"


def difficulty_table(results: str, experiment: Mapping[str, Any], noise: Mapping[str, float]) -> pd.DataFrame:
    """How hard every training example is: one row per reference run and example.

    Columns: run, example (position in the training part), original and label (class before and after corruption),
    changed, learned_at (step; inf: not learned), forgetting_events (inf: never right), mean_loss (over checkpoints),
    rank (in this run: 0 easiest, 1 hardest), score (mean rank over the reference runs), first_split_learned_at and
    second_split_forgotten_at (steps of the first and second stage; inf: not learned, not forgotten; NaN where the study
    makes no second_split), diverged.
    """
    frames = []
    for dataset, model in product(experiment["datasets"], experiment["models"]):
        with open_hdf5(_difficulty_path(results, dataset, model), DIFFICULTY_SCHEMA) as file:
            per_run = {name: file[name][:] for name in ("learned_at", "forgetting_events", "mean_loss", "rank")}
            score, diverged = file["score"][:], file["diverged"][:]
        for position, run in enumerate(reference_runs(experiment, dataset, model)):
            labels = read_labels(Path(run.labels_path(results)))
            unknown = np.full(len(score), np.nan)
            stages = second_split_times(results, run, labels) if experiment["second_split"] else (unknown, unknown)
            columns = {
                "example": np.arange(len(score)),
                "original": labels.original,
                "label": labels.labels,
                "changed": labels.changed,
                **{name: values[position] for name, values in per_run.items()},
                "score": score,
                "first_split_learned_at": stages[0],
                "second_split_forgotten_at": stages[1],
                "diverged": diverged[position],
            }
            frames.append(pd.DataFrame(run_columns(run, noise) | columns))
    return pd.concat(frames, ignore_index=True)


def second_split_times(results: str, reference: Run, labels: Labels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First-split learning time and second-split forgetting time of every example, float64 [N] (Maini et al.).

    An example of one half is learned in the run on this half and forgotten in the run that goes on with the other. NaN
    where one of the two diverged.

    Args:
        results: folder of the study.
        reference: the run on everything, with the seed and the labels of the runs on the halves.
        labels: those labels.
    """
    learned, forgotten = (np.full(len(labels.labels), np.nan) for _ in range(2))
    halves = Path(f"{results}/splits/{reference.dataset}/halves.h5")
    for second, first in FIRST_STAGE.items():
        with open_hdf5(halves, SPLIT_SCHEMA) as file:
            members = file[f"{TRAINED_HALF[first]}_train"][:]
        (step, correct, lost), (later_step, later_correct, later_lost) = (
            correct_answers(results, replace(reference, subset=subset), labels) for subset in (first, second)
        )
        if not (lost or later_lost):
            learned[members] = learned_at(correct[:, members], step)
            forgotten[members] = forgotten_at(later_correct[:, members], later_step)
    return learned, forgotten


def correct_answers(results: str, run: Run, labels: Labels) -> tuple[NDArray[np.int64], NDArray[np.bool_], bool]:
    """Steps [K] of a run, whether each training example is right there, bool [K, N], and whether the run diverged."""
    with open_hdf5(Path(f"{run.path(results)}/evaluation.h5"), EVALUATION_SCHEMA) as file:
        return file["step"][:], file["train/prediction"][:] == labels.labels, bool(file["diverged"][-1])


def agreement_table(results: str, experiment: Mapping[str, Any], noise: Mapping[str, float]) -> pd.DataFrame:
    """How far reference runs agree on what is hard: one row per run and what it is compared with; no diverged runs.

    Columns: run, other, n (examples compared), spearman (rank correlation of the ranks of `difficulty`),
    spearman_learned_at (of the learning times alone, ties averaged; between two seeds only, else NaN), easy_overlap
    (share of one side's easy examples that the other calls easy too), chance (that share for unrelated choices: the
    share called easy), step (of the one checkpoint, else NaN). `other` is

    - a seed: that of another reference run;
    - "other seeds": the mean rank over all other reference runs;
    - "all seeds": the score that the split is made from, in which the run itself has a part;
    - "one checkpoint": the run's own answers at one moment, as arXiv 2003.07422 splits; `right_at_one_checkpoint`.
    """
    rows = []
    for dataset, model in product(experiment["datasets"], experiment["models"]):
        runs = reference_runs(experiment, dataset, model)
        with open_hdf5(_difficulty_path(results, dataset, model), DIFFICULTY_SCHEMA) as file:
            trained = np.flatnonzero(~file["diverged"][:])
            rank, learned = file["rank"][:][trained], file["learned_at"][:][trained]
        runs = [runs[position] for position in trained]
        every_label = [read_labels(Path(run.labels_path(results))) for run in runs]
        labels = np.stack([one.labels for one in every_label])
        for position, run in enumerate(runs):
            seeds = [one.seed for one in runs]
            agreements = agreements_of(position, seeds, rank, learned, labels, experiment["fraction"])
            step, correct, _ = correct_answers(results, run, every_label[position])
            agreements[ONE_CHECKPOINT] = right_at_one_checkpoint(rank[position], correct, step, experiment["fraction"])
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


def difficulty_coherence_table(results: str, experiment: Mapping[str, Any], noise: Mapping[str, float]) -> pd.DataFrame:
    """How the gradients of easy, hard and random examples agree: one row per run, checkpoint and pair of groups.

    Columns: run, step, epoch, group and other (easy_train, easy_test, hard_train, ...; a group with itself too), n,
    n_other, m_coherence (of the group; NaN between two groups), alignment (mean inner product of an example of one and
    another example of the other over their root mean square norms; does not depend on n), cosine (of the two groups'
    mean gradients; positive: a small step along either lowers the loss of both), diverged.
    """
    frames = []
    for run in difficulty_coherence_runs(experiment):
        frame = difficulty_coherence_of_run(Path(f"{run.path(results)}/difficulty_coherence.h5"))
        frames.append(frame.assign(**run_columns(run, noise))[[*run_columns(run, noise), *frame.columns]])
    return pd.concat(frames, ignore_index=True)


def difficulty_coherence_of_run(path: Path) -> pd.DataFrame:
    """The rows of one run of `difficulty_coherence_table`, without the columns that name the run."""
    with open_hdf5(path, DIFFICULTY_COHERENCE_SCHEMA) as file:
        groups = read_names(file, "group")
        step, epoch, n, diverged = (file[name][:] for name in ("step", "epoch", "n", "diverged"))
        total, gram = file["sum_sq_norm"][:].sum(axis=-1), file["gram"][:].sum(axis=-1)  # [K, G], [K, G, G]
    frames = []
    for a, b in combinations_with_replacement(range(len(groups)), 2):
        both = (gram[:, a, b], total[:, a], total[:, b], n[:, a], n[:, b])
        within = pairwise_alignment(gram[:, a, a], total[:, a], n[:, a])
        frames.append(
            pd.DataFrame(
                {
                    "step": step,
                    "epoch": epoch,
                    "group": groups[a],
                    "other": groups[b],
                    "n": n[:, a],
                    "n_other": n[:, b],
                    "m_coherence": m_coherence(gram[:, a, a], total[:, a]) if a == b else np.nan,
                    "alignment": within if a == b else cross_alignment(*both),
                    "cosine": 1.0 if a == b else cosine_of_sums(gram[:, a, b], gram[:, a, a], gram[:, b, b]),
                    "diverged": diverged,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


DIFFICULTY_TABLES = {
    "difficulty": difficulty_table,
    "difficulty_agreement": agreement_table,
    "difficulty_coherence": difficulty_coherence_table,
}


def _difficulty_path(results: str, dataset: str, model: str) -> Path:
    return Path(f"{results}/difficulty/{dataset}/{model}/difficulty.h5")
