"""Easy and hard examples: when networks learn an example for good and forget it, and index sets made from that.

Source: arXiv 2003.07422 calls the examples learned after two epochs easy and the others hard. Here the score comes
from several seeds and is graded, so that both halves have the same size whatever the network's speed.

Beside it stand two measures of others: forgetting events (Toneva et al., arXiv 1812.05159) and second-split forgetting
(Maini et al., arXiv 2210.15031).

Index letters: K checkpoints, N examples, R reference runs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcoherence.data.random_streams import EASY_HARD_SPLIT, random_stream
from mcoherence.data.store import read_labels
from mcoherence.data.subsets import SUBSETS, split_counts
from mcoherence.errors import UserError
from mcoherence.files.hdf5 import open_hdf5
from mcoherence.study.result_names import EVALUATION_SCHEMA

DIFFICULTY_SCHEMA = "mcoherence/difficulty/2"


def score_runs(evaluations: Sequence[Path], labels: Sequence[Path]) -> dict[str, NDArray[Any]]:
    """What each reference run says of each example, and the score: its mean rank over the runs that did not diverge.

    Args:
        evaluations: paths of the evaluation.h5 of the R runs.
        labels: paths of their labels.h5.

    Returns:
        The datasets learned_at, mean_loss, forgetting_events and rank, float64 [R, N]; score, float64 [N]; diverged,
        bool [R].

    Raises:
        UserError: all of the runs diverged, or a file is missing, damaged or something else.
    """
    learned, mean_loss, events, diverged = [], [], [], []
    for evaluation, labels_of_run in zip(evaluations, labels, strict=True):
        with open_hdf5(evaluation, EVALUATION_SCHEMA) as file:
            correct = file["train/prediction"][:] == read_labels(labels_of_run).labels
            learned.append(learned_at(correct, file["step"][:]))
            events.append(forgetting_events(correct))
            mean_loss.append(file["train/loss"][:].mean(axis=0, dtype=np.float64))
            diverged.append(bool(file["diverged"][-1]))
    trained = ~np.array(diverged)
    if not trained.any():
        raise UserError(
            f"{evaluations[0]}: the run diverged, as all {len(diverged)} reference runs did, expected one that "
            "trained; lower the lr of the optimiser that easy_hard.optimizer names"
        )
    rank = ranks_in_runs(np.stack(learned), np.stack(mean_loss))
    return {
        "learned_at": np.stack(learned),
        "mean_loss": np.stack(mean_loss),
        "forgetting_events": np.stack(events),
        "rank": rank,
        "score": rank[trained].mean(axis=0),
        "diverged": ~trained,
    }


def learned_at(correct: NDArray[np.bool_], steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """The first checkpoint step from which an example is right at every later checkpoint; inf if wrong at the last.

    Args:
        correct: bool [K, N].
        steps: ascending, int64 [K].

    Returns:
        float64 [N].
    """
    wrong_later = np.logical_or.accumulate(~correct[::-1], axis=0)[::-1]  # wrong at this checkpoint or a later one
    first = wrong_later.sum(axis=0)  # each column is True, ..., True, False, ..., False
    return np.asarray(np.append(steps.astype(np.float64), np.inf)[first])


def forgotten_at(correct: NDArray[np.bool_], steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """The first checkpoint step from which an example is wrong at every later checkpoint; inf if right at the last.

    Along the second stage of a training on two halves, and for an example of the first half, this is its second-split
    forgetting time (Maini et al.); step 0 is the end of the first stage.

    Args:
        correct: bool [K, N].
        steps: ascending, int64 [K].

    Returns:
        float64 [N].
    """
    return learned_at(~correct, steps)


def forgetting_events(correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How often an example turns from right to wrong between neighbouring checkpoints; inf if it is never right.

    Toneva et al. count at every presentation of an example. Checkpoints are closer than that early in training and
    further apart later, so that early transitions count more here and most late ones go unseen: counts compare within
    one schedule of checkpoints only. An example with 0 events is what they call unforgettable.

    Args:
        correct: bool [K, N], in the order of training.

    Returns:
        float64 [N].
    """
    events = (correct[:-1] & ~correct[1:]).sum(axis=0).astype(np.float64)
    return np.where(correct.any(axis=0), events, np.inf)


def ranks_in_runs(learned: NDArray[np.float64], mean_loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """An example's rank in each reference run, 0 for the easiest and 1 for the hardest, float64 [R, N].

    Examples are ranked by when they were learned; ties, which checkpoints make, by their mean loss.

    Args:
        learned: `learned_at` per run, float64 [R, N].
        mean_loss: loss averaged over the run's checkpoints, float64 [R, N].
    """
    runs, size = learned.shape
    ranks = np.empty((runs, size))
    for run in range(runs):
        order = np.lexsort((mean_loss[run], learned[run]))
        ranks[run, order] = np.arange(size)
    return np.asarray(ranks / max(size - 1, 1))


def score_within_class(score: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rank of each example among those of its class, from 0 to 1, float64 [N]; equal scores by position.

    A split by it has every class in equal shares among easy and hard. A split by the score itself can gather whole
    classes on one side, and then compares classes as much as it does easy and hard examples.

    Args:
        score: difficulty, float64 [N].
        classes: int64 [N].
    """
    within = np.empty(len(score))
    for one in np.unique(classes):
        members = np.flatnonzero(classes == one)
        ranks = np.argsort(np.argsort(score[members], kind="stable"), kind="stable")
        within[members] = (ranks + 0.5) / len(members)
    return within


def split_easy_hard(
    score: NDArray[np.float64], fraction: float, test_fraction: float, seed: int
) -> dict[str, NDArray[np.int64]]:
    """Disjoint train and test parts of the easiest, the hardest and a random control of the same size.

    The control is drawn from everything, but its training part never meets any test part and the other way round, so
    that every cell of the train-on / test-on matrix is clean.

    Args:
        score: difficulty, float64 [N].
        fraction: share of the examples that is called easy, and the same share hard; at most 0.5.
        test_fraction: share of each that is kept for testing.
        seed: of the random choices.

    Returns:
        Ascending int64 positions, by name: easy_train, easy_test, hard_train, hard_test, random_train, random_test.

    Raises:
        UserError: a part would be empty.
    """
    generator = random_stream(seed, EASY_HARD_SPLIT)
    size = len(score)
    order = np.lexsort((generator.permutation(size), score))
    train_count, test_count = split_counts(size, fraction, test_fraction)
    count = train_count + test_count
    if not (train_count and test_count):
        raise UserError(
            f"easy_hard.fraction: found {fraction} of {size} examples, which leaves {train_count} to train on and "
            f"{test_count} for testing, with the test_fraction {test_fraction}; expected one of each; choose others"
        )
    middle_test_count = round(test_fraction * (size - 2 * count))
    pools = {"easy": order[:count], "hard": order[size - count :], "middle": order[count : size - count]}
    test_counts = {"easy": test_count, "hard": test_count, "middle": middle_test_count}
    parts: dict[str, NDArray[np.int64]] = {}
    for name, pool in pools.items():
        shuffled = generator.permutation(pool)
        parts[f"{name}_test"], parts[f"{name}_train"] = np.split(shuffled, [test_counts[name]])
    for part, part_count in (("train", train_count), ("test", test_count)):
        everything = np.concatenate([parts[f"{name}_{part}"] for name in pools])
        parts[f"random_{part}"] = generator.choice(everything, size=part_count, replace=False)
    return {
        f"{subset}_{part}": np.sort(parts[f"{subset}_{part}"]).astype(np.int64)
        for subset in SUBSETS
        for part in ("train", "test")
    }
