"""What a statistic gives where there is nothing to find: the null of a part, as an interval, by a stated rule.

A statistic that is positive by construction proves nothing by being positive. So every part has the interval in which
the mean over the study's seeds lies where the claim has nothing to be about: equal optimisers, shuffled tags, untrained
networks. It is worked out from stored tables. The part is supported only where its mean is above the upper end of it,
and never where the lower end is above 0: then nothing to find would pass too. It is refuted only where its mean is
below the lower end (`mcoherence.claims.verdicts`).

Each rule is a function here; its docstring says what it assumes and what it does not cover. In none of them do images,
split or measured sample vary, where the study measures one sample of one split with all its seeds. Index letters: n
seeds of the study, S seeds of one condition, K values of one seed, V numbers that a seed has, D draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mcoherence.claims.intervals import Interval, students_t, t_half_width

NUM_DRAWS = 10_000  # of a fixed stream
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Null:
    """What the mean over the study's seeds gives where there is nothing to find.

    interval: None where the study has too little to work it out; rule: how it was worked out, in words, or what is
    missing; expected: the mean of what it gives, 0 for a difference of equals.
    """

    interval: Interval | None
    rule: str
    expected: float = 0.0


def unknown(missing: str) -> Null:
    """A null that this study has too little for; its part is inconclusive. `missing`: what it would need."""
    return Null(None, f"not known: needs {missing}")


def equal_conditions(
    conditions: Sequence[pd.Series | pd.DataFrame],
    confidence: float,
    statistic: Callable[..., FloatArray] = np.subtract,
    drawn: int = 2,
) -> Null:
    """The null of a comparison of conditions within a seed: the same statistic of different seeds of ONE condition.

    For each of n seeds one of the conditions is drawn, and of it `drawn` different seeds that stand in for the things
    compared; the mean of the n statistics is taken; NUM_DRAWS times, from a fixed stream. Draws of the n seeds are
    independent: a mean of differences over a cyclic shift of the seeds would be 0 exactly.

    Assumes that the conditions, if equal, are spread as each of them is here. Pairs are of different seeds, so what a
    seed gives both conditions (initial weights, order of examples, corruption) does not cancel as it does in the
    statistic itself: where it would, this null is wider than need be. The spread is that of S seeds, not of all that
    could have been; that uncertainty is in Student's interval beside it.

    Args:
        conditions: values of each condition by seed, [S] or [S, V]; NaN counts as missing.
        confidence: share of the means within the interval.
        statistic: of `drawn` arrays [D] or [D, V] -> [D]; the difference by default.
        drawn: how many seeds it takes.

        >>> equal_conditions([pd.Series([0.0, 1.0]), pd.Series([0.0, 1.0])], 0.95).interval
        (-1.0, 1.0)
    """
    values = [one for one in map(_finite, conditions) if len(one) >= max(drawn, 2)]
    if not values:
        return unknown(f"{max(drawn, 2)} seeds of one condition")
    num_seeds = max(map(len, values))
    generator = np.random.default_rng(0)
    which = generator.integers(len(values), size=NUM_DRAWS * num_seeds)
    results = np.empty(which.shape)
    for number, one in enumerate(values):
        chosen = which == number
        order = generator.random((int(chosen.sum()), len(one))).argsort(axis=1)[:, :drawn]
        results[chosen] = statistic(*(one[order[:, position]] for position in range(drawn)))
    means = results.reshape(NUM_DRAWS, num_seeds).mean(axis=1)
    return Null(
        _quantiles(means, confidence),
        f"mean of {num_seeds} such statistics of {drawn} different seeds each, all of one condition, which is any of "
        f"{len(values)} with the same chance; {NUM_DRAWS:,} draws",
        _unless_0(means),
    )


def redrawn(values: pd.Series | pd.DataFrame, confidence: float, what: str) -> Null:
    """The null of a statistic that stored null worlds have too: the mean that as many seeds would give again.

    mean ± t(S - 1) s sqrt(2 / S), Student's interval of the mean of another S values, given these: one 2 / S for the S
    values of the new mean, one for those that its centre is taken from. s is the standard deviation of all S K values.
    Degrees of freedom are those of the seeds, because values of one seed share its run; so many values a seed (K) do
    not make the interval too narrow.

    Assumes values that are about normal, and as many seeds in the null as in the study. Where the null values of a seed
    are made of its own run, what runs have in common is counted as spread, and the null is wider than need be.

    Args:
        values: the statistic where there is nothing to find, by seed, [S] or [S, K]; rows with NaN are left out.
        confidence: coverage.
        what: whose values these are, in words, such as "networks that are not trained".
    """
    numbers = _finite(values)
    if len(numbers) < 2:
        return unknown(f"two seeds of {what}")
    half = float(t_half_width(numbers.std(ddof=1), np.asarray(len(numbers)), confidence) * np.sqrt(2))
    mean = float(numbers.mean())
    return Null(
        (mean - half, mean + half),
        f"the same statistic of {what}: Student's interval of the mean of as many again",
        mean,
    )


def around(centre: float, per_seed: pd.Series, confidence: float, why: str) -> Null:
    """The null of a statistic whose value without anything to find is known: that value, with the seeds' own spread.

    Assumes that the seeds would be spread about `centre` as they are about their mean. It adds no condition: the mean
    is above it exactly where Student's interval is above the centre. It states what the centre means.

    Args:
        centre: the value where there is nothing to find.
        per_seed: the statistic by seed, [n].
        confidence: coverage.
        why: why the centre is that, in words.
    """
    numbers = per_seed.to_numpy(np.float64)
    if len(numbers) < 2 or not np.isfinite(numbers).all():
        return unknown("two seeds")
    low, high = students_t(numbers - numbers.mean() + centre, confidence)
    return Null((low, high), f"{centre:g} ({why}), with the spread of the seeds", centre)


def rounding(by: float) -> Null:
    """The null of a statistic without chance: 0, but for rounding."""
    return Null((-by, by), "0 but for rounding: the experiment has no chance in it")


def shuffled_tags(
    scores: Sequence[FloatArray], tagged: Sequence[NDArray[np.bool_]], confidence: float, tags: str
) -> Null:
    """The null of a probability of more, less one half: tags shuffled among the same examples of each seed.

    The mean rank of n1 of N examples drawn without replacement has the variance S^2 (1 - n1 / N) / n1 with S^2 the
    variance of the ranks (divided by N - 1; ties have their mean rank), and the probability that one of them ranks
    above one of the n2 others is that mean rank over n2, less a constant. Source: Lehmann, Nonparametrics (1975),
    section 1.4, for the Mann-Whitney statistic with ties. Exact in mean (0) and variance; the mean over the seeds is
    taken as normal.

    Assumes that examples are exchangeable and that tags were drawn anew for each seed. Not covered: what examples of
    one class have in common.

    Args:
        scores: of each seed, float64 [N]; inf is the largest value.
        tagged: of each seed, bool [N]: the n1 examples that the statistic is about.
        confidence: coverage.
        tags: what is shuffled, in words.
    """
    variances = []
    for score, tag in zip(scores, tagged, strict=True):
        first, second = int(tag.sum()), int((~tag).sum())
        if not first or not second:
            return unknown("examples with and without the tag in every seed")
        spread = stats.rankdata(score).var(ddof=1)
        variances.append(spread * (1 - first / len(score)) / first / second**2)
    half = _normal(confidence) * float(np.sqrt(np.sum(variances))) / len(variances)
    return Null(
        (-half, half), f"{tags} shuffled among the same examples: variance of rank sums, normal mean of the seeds"
    )


def unrelated_choices(sizes: Sequence[int], shares: Sequence[float], confidence: float) -> Null:
    """The null of an overlap of two choices beyond the overlap by chance: two independent choices.

    Of N examples each side chooses k = share N; the overlap is hypergeometric, and its share of k has the variance
    (1 - k / N)^2 / (N - 1). The seeds are compared with one another, so their overlaps depend on each other; they are
    taken as one and the same number, which makes the interval as wide as that of a single seed: an upper bound.

    Assumes that all examples are as likely to be chosen; choices within classes vary less.

    Args:
        sizes: N of each seed.
        shares: k / N of each seed, which is the overlap by chance.
        confidence: coverage.
    """
    variances = [(1 - share) ** 2 / (size - 1) for size, share in zip(sizes, shares, strict=True)]
    half = _normal(confidence) * float(np.sqrt(max(variances)))
    return Null((-half, half), "unrelated choices of as many examples: hypergeometric, seeds as wholly dependent")


def _finite(values: pd.Series | pd.DataFrame) -> FloatArray:
    """The values of the seeds that have all of theirs, [S] or [S, V]."""
    numbers = values.to_numpy(np.float64)
    missing = ~np.isfinite(numbers)
    complete: FloatArray = numbers[~(missing.any(axis=1) if numbers.ndim == 2 else missing)]
    return complete


def _normal(confidence: float) -> float:
    return float(stats.norm.ppf((1 + confidence) / 2))


def _quantiles(means: FloatArray, confidence: float) -> Interval:
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _unless_0(means: FloatArray) -> float:
    """The mean of draws [D]; 0 where it is 0 but for the error of so many draws, as of a difference of equals."""
    mean, error = float(means.mean()), float(means.std()) / np.sqrt(len(means))
    return mean if abs(mean) > 4 * error else 0.0
