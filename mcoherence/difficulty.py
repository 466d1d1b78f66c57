"""Easy and hard examples: when a reference network learns an example for good, and index sets made from it.

Source: arXiv 2003.07422 calls the examples learned after two epochs easy and the others hard. Here the score comes
from several seeds and is graded, so that both halves have the same size whatever the network's speed.

Index letters: K checkpoints, N examples, R reference runs.
"""

import numpy as np
from numpy.typing import NDArray

from mcoherence.data.random_streams import EASY_HARD_SPLIT, random_stream
from mcoherence.data.subsets import SUBSETS

DIFFICULTY_SCHEMA = "mcoherence/difficulty/1"


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


def difficulty_score(learned: NDArray[np.float64], mean_loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the reference runs of an example's rank, 0 for the easiest and 1 for the hardest, float64 [N].

    Within a run examples are ranked by when they were learned; ties, which checkpoints make, by their mean loss.

    Args:
        learned: `learned_at` per run, float64 [R, N].
        mean_loss: loss averaged over the run's checkpoints, float64 [R, N].
    """
    runs, size = learned.shape
    ranks = np.empty((runs, size))
    for run in range(runs):
        order = np.lexsort((mean_loss[run], learned[run]))
        ranks[run, order] = np.arange(size)
    return np.asarray(ranks.mean(axis=0) / max(size - 1, 1))


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
    """
    generator = random_stream(seed, EASY_HARD_SPLIT)
    size = len(score)
    order = np.lexsort((generator.permutation(size), score))
    count = int(fraction * size)
    test_count = round(test_fraction * count)
    middle_test_count = round(test_fraction * (size - 2 * count))
    pools = {"easy": order[:count], "hard": order[size - count :], "middle": order[count : size - count]}
    test_counts = {"easy": test_count, "hard": test_count, "middle": middle_test_count}
    parts: dict[str, NDArray[np.int64]] = {}
    for name, pool in pools.items():
        shuffled = generator.permutation(pool)
        parts[f"{name}_test"], parts[f"{name}_train"] = np.split(shuffled, [test_counts[name]])
    for part, part_count in (("train", count - test_count), ("test", test_count)):
        everything = np.concatenate([parts[f"{name}_{part}"] for name in pools])
        parts[f"random_{part}"] = generator.choice(everything, size=part_count, replace=False)
    return {
        f"{subset}_{part}": np.sort(parts[f"{subset}_{part}"]).astype(np.int64)
        for subset in SUBSETS
        for part in ("train", "test")
    }
