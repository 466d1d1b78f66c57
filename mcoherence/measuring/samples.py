"""Which examples of a run are measured, drawn once for all of its checkpoints, and in which groups.

Index letter: m examples of a sample.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcoherence.data.random_streams import DIFFICULTY_SAMPLE, MEASURED_SAMPLE, random_stream
from mcoherence.study.result_names import CORRUPT, DIFFICULTY_GROUPS, HELDOUT, PRISTINE


@dataclass(frozen=True)
class Sample:
    """Positions of the measured examples and their groups.

    index: int64 [m], positions in the part of the data set, ascending within a draw; group: int64 [m], positions in the
    names of the groups.
    """

    index: NDArray[np.int64]
    group: NDArray[np.int64]

    def rows(self, chosen: slice) -> "Sample":
        """These of its examples, in their order."""
        return Sample(self.index[chosen], self.group[chosen])


@dataclass(frozen=True)
class DrawnExamples:
    """Examples drawn from one part of the data set, "train" or "test"; targets: of the whole part, int64 [N]."""

    part: str
    sample: Sample
    targets: NDArray[np.int64]


def draw_training_sample(candidates: NDArray[np.int64], changed: NDArray[np.bool_], size: int, seed: int) -> Sample:
    """A sample of at most `size` of the candidates, without replacement, grouped by whether their label was changed.

    Args:
        candidates: positions in the training part, int64; the whole part or a subset.
        changed: mask over the whole training part, bool [N].
        size: number of examples; all candidates where there are fewer.
        seed: the same seed and candidates give the same sample.
    """
    index = _draw(candidates, size, seed)
    return Sample(index, np.where(changed[index], CORRUPT, PRISTINE).astype(np.int64))


def draw_other_sample(
    candidates: NDArray[np.int64], changed: NDArray[np.bool_], size: int, apart_from: Sample, seed: int
) -> Sample:
    """A training sample, as of `draw_training_sample`, that shares no example with another one.

    Two samples that shared some would agree by that alone, whatever m-coherence does as m grows.

    Args:
        candidates: positions in the training part, int64; the whole part or a subset.
        changed: mask over the whole training part, bool [N].
        size: number of examples; all that are left where there are fewer.
        apart_from: the other sample.
        seed: the same seed, candidates and other sample give the same sample.
    """
    return draw_training_sample(np.setdiff1d(candidates, apart_from.index), changed, size, seed)


def draw_heldout_sample(test_size: int, size: int, seed: int) -> Sample:
    """A sample of at most `size` examples of the test part; all of the group "heldout"."""
    index = _draw(np.arange(test_size), size, seed)
    return Sample(index, np.full(len(index), HELDOUT, dtype=np.int64))


def draw_difficulty_sample(parts: Mapping[str, NDArray[np.int64]], size: int, heldout_size: int, seed: int) -> Sample:
    """Disjoint samples of the train and test parts of easy, hard and random examples, of one size within each kind.

    The random part overlaps the others, and an example that two groups share would count as agreement between them. So
    the random sample is drawn first and the others from what is left of their parts, which is a fair choice of them
    because the random part was drawn regardless of difficulty. A sample is at most half of its part, so that enough is
    left.

    Args:
        parts: positions by group of DIFFICULTY_GROUPS, int64, as split.h5 holds them.
        size: most examples of a train part.
        heldout_size: most examples of a test part.
        seed: the same seed and parts give the same sample.

    Returns:
        The sample; `group` counts positions in DIFFICULTY_GROUPS.
    """
    generator = random_stream(seed, DIFFICULTY_SAMPLE)
    drawn: dict[str, NDArray[np.int64]] = {}
    for kind, most in (("train", size), ("test", heldout_size)):
        count = min(most, *(len(parts[f"{subset}_{kind}"]) // 2 for subset in ("easy", "hard", "random")))
        for subset in ("random", "easy", "hard"):
            left = np.setdiff1d(parts[f"{subset}_{kind}"], drawn.get(f"random_{kind}", []))
            drawn[f"{subset}_{kind}"] = np.sort(generator.choice(left, size=count, replace=False))
    return Sample(
        np.concatenate([drawn[group] for group in DIFFICULTY_GROUPS]).astype(np.int64),
        np.repeat(np.arange(len(DIFFICULTY_GROUPS)), [len(drawn[group]) for group in DIFFICULTY_GROUPS]),
    )


def _draw(candidates: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    count = min(size, len(candidates))
    return np.sort(random_stream(seed, MEASURED_SAMPLE).choice(candidates, size=count, replace=False)).astype(np.int64)
