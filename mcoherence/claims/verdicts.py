"""From a statistic to a verdict: intervals, margin, saturation, the null, and Holm's correction for refutations.

A part is

- supported where both intervals are above 0 and the mean is above the upper end of its null, unless the lower end of
  that is above 0 too: what is positive where there is nothing to find shows nothing by being positive;
- not supported where both intervals are below -margin and below what the null expects, and the mean is below the lower
  end of the null, after Holm's correction over the parts of its claim;
- inconclusive otherwise, with the reason: saturated, equivalent within the margin, not above its null, and so on.

So a tie refutes nothing, nor does a value that nothing to find gives too: that lies below 0 where a statistic takes the
smaller of two numbers or asks for a factor. Where a null is not known, nothing is refuted.

A claim may state a level of one condition, such as "near 1 in the end" or "no more than the proper accuracy"
(`Measured.states_level`). Below the level it is wrong, whether or not there is more to find: -margin alone is what a
refutation has to be below, and the null guards support alone. Its statistic may not lie below 0 by construction.

A claim is supported only where all of its parts are. That needs no correction: if one part does not hold, the claim is
supported no more often than that part is, whatever the number of others (intersection-union test; Berger, Technometrics
24, 1982). It is not supported where any of its parts is refuted, and of many parts that hold some would be by chance:
with no effect at all one of 20 independent parts is in 40% of studies. So a part counts as refuted only at the level
that Holm's step-down procedure leaves it, of (1 - confidence) / 2 for all (Holm, Scandinavian Journal of Statistics 6,
1979; parts may depend on each other). The p-value is the larger of two, both one-sided and of Student's t: that the
mean is not below -margin and what the null expects, by the spread of the seeds; and that the null gives a mean as low,
by the distance from what it expects to its lower end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mcoherence.claims import nulls
from mcoherence.claims.intervals import Interval, percentile_bootstrap, students_t
from mcoherence.claims.measured import Exact, Measured, Rates, Unit
from mcoherence.claims.nulls import Null
from mcoherence.claims.power import detectable

Verdict = Literal["supported", "not supported", "inconclusive", "reported"]
EQUIVALENT = "equivalent within the margin"


@dataclass(frozen=True)
class Part:
    """One tested number: where it was taken, its values per seed (none where it is exact), mean, intervals, verdict.

    interval: the percentile bootstrap's; t_interval: Student's; both are that of rounding where the number is exact.
    null: what the mean gives where there is nothing to find; margin: what counts as equality; detectable: the smallest
    effect that so many seeds of this spread find in 80% of cases; refutation_p: the p-value of a refutation, corrected
    over the claim's parts, None where there can be none; states_level, rates, note, unit: see `Measured`; reason: of
    the verdict, in words.
    """

    where: str
    values: dict[int, float]
    value: float | None
    interval: Interval | None
    t_interval: Interval | None
    verdict: Verdict
    reason: str = ""
    null: Null | None = None
    margin: float = 0.0
    states_level: bool = False
    detectable: float | None = None
    refutation_p: float | None = None
    rates: Rates | None = None
    note: str = ""
    unit: Unit = "number"

    @property
    def support(self) -> tuple[int, bool, float]:
        """How far the part carries its claim, the least first: verdict, whether there is a number, interval."""
        if self.interval is None or self.t_interval is None:
            return 1, False, 0.0
        if self.verdict != "reported":
            rank = {"not supported": 0, "inconclusive": 1, "supported": 2}[self.verdict]
        else:
            low, high = min(self.interval[0], self.t_interval[0]), max(self.interval[1], self.t_interval[1])
            rank = 0 if high < -self.margin else 2 if low > 0 else 1
        return rank, True, self.t_interval[0]


def part_of(where: str, measured: Measured | Exact, confidence: float) -> Part:
    """The tested number by itself: mean, both intervals at `confidence` widened by the resolution, null, verdict.

    Too few or missing values are inconclusive. An exact number is its own mean, and its interval is that of rounding.
    The null is widened as the intervals are.
    """
    if isinstance(measured, Exact):
        return _exact_part(where, measured)
    values = {int(seed): float(value) for seed, value in zip(measured.per_seed.index, measured.per_seed, strict=True)}
    numbers = np.array(list(values.values()))
    null = _null_of(measured)
    if len(numbers) < 2 or not np.isfinite(numbers).all():
        finite = {seed: value for seed, value in values.items() if np.isfinite(value)}
        reason = f"{len(finite)} of {len(values)} seeds have a number" if len(numbers) > 1 else "fewer than two seeds"
        if measured.missing_because and len(finite) < len(values):
            reason += f": {measured.missing_because}"
        reason = measured.open_because or reason
        return Part(
            where, finite, None, None, None, "inconclusive", reason, null, measured.margin, measured.states_level,
            rates=measured.rates, note=measured.note,
        )  # fmt: skip
    bootstrap, t = (
        _widened(interval(numbers, confidence), measured.resolution) for interval in (percentile_bootstrap, students_t)
    )
    mean = float(numbers.mean())
    verdict, reason = _judged((bootstrap, t), null, measured.margin, mean, states_level=measured.states_level)
    if measured.open_because:
        verdict, reason = "inconclusive", measured.open_because
    return Part(
        where, values, mean, bootstrap, t, verdict, reason, null, measured.margin, measured.states_level,
        detectable=detectable(numbers, confidence) + measured.resolution,
        refutation_p=_p_of_refutation(numbers, measured, confidence),
        rates=measured.rates, note=measured.note,
    )  # fmt: skip


def _exact_part(where: str, measured: Exact) -> Part:
    interval, null = _widened((measured.value, measured.value), measured.rounding), nulls.rounding(measured.rounding)
    verdict, reason = _judged((interval, interval), null, 0.0, measured.value, states_level=False)
    p = float(verdict != "not supported")  # no chance: refuted or not
    return Part(where, {}, measured.value, interval, interval, verdict, reason, null, refutation_p=p)


def corrected(parts: Sequence[Part], confidence: float) -> tuple[Part, ...]:
    """The parts of one claim, their p-values corrected by Holm, and refuted only where those allow it."""
    tested = [part for part in parts if part.refutation_p is not None]
    adjusted = holm(np.array([part.refutation_p for part in tested], dtype=np.float64))
    by_place = {part.where: float(p) for part, p in zip(tested, adjusted, strict=True)}
    return tuple(_after_correction(part, by_place.get(part.where), len(tested), confidence) for part in parts)


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values [k] corrected for their number: the i-th smallest times k - i + 1, not below smaller ones, at most 1."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    result = np.empty(len(p_values))
    result[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return result


def _after_correction(part: Part, p: float | None, tests: int, confidence: float) -> Part:
    if p is None:
        return part
    if part.verdict == "not supported" and p > (1 - confidence) / 2:
        return replace(
            part, verdict="inconclusive", reason=f"refuted alone, not as one of {tests} (Holm)", refutation_p=p
        )
    return replace(part, refutation_p=p)


def _judged(
    intervals: tuple[Interval, Interval], null: Null, margin: float, mean: float, *, states_level: bool
) -> tuple[Verdict, str]:
    """Verdict and reason of a part by itself."""
    low, high = min(one[0] for one in intervals), max(one[1] for one in intervals)
    edge = f"-{margin:g}, the margin" if margin else "0"
    if high < -margin:
        if states_level:
            return "not supported", f"both intervals are below {edge}, the level that the claim states"
        if null.interval is None:
            return "inconclusive", f"below {edge}, but its null is {null.rule}"
        if high >= null.expected or mean >= null.interval[0]:
            return "inconclusive", f"below {edge}, but not below its null"
        return "not supported", f"both intervals are below {edge}, the mean below its null"
    if -margin <= low and high <= margin:
        return "inconclusive", EQUIVALENT
    if low <= 0:
        return "inconclusive", "an interval holds 0" if high >= 0 else "below 0, but not beyond the margin"
    if null.interval is None:
        return "inconclusive", f"its null is {null.rule}"
    if null.interval[0] > 0:
        return "inconclusive", "its null is above 0 as well"
    if mean <= null.interval[1]:
        return "inconclusive", "not above its null"
    return "supported", "both intervals are above 0, the mean above its null"


def _null_of(measured: Measured) -> Null:
    null = measured.null
    if null.interval is None or not measured.resolution:
        return null
    rule = f"{null.rule}; widened by the spacing of checkpoints"
    return replace(null, interval=_widened(null.interval, measured.resolution), rule=rule)


def _p_of_refutation(values: NDArray[np.float64], measured: Measured, confidence: float) -> float | None:
    """The p-value of a refutation, see the module, of values [n]; None where the null that it needs is not known.

    At most (1 - confidence) / 2 exactly where Student's interval and the mean are as low as a refutation wants them.
    """
    mean, degrees = float(values.mean()), len(values) - 1
    error = float(values.std(ddof=1)) / np.sqrt(len(values))
    if measured.states_level:
        return _student(mean + measured.margin + measured.resolution, error, degrees)
    null = measured.null
    if null.interval is None:
        return None
    bound = min(-measured.margin, null.expected)
    spread = (null.expected - null.interval[0]) / float(stats.t.ppf((1 + confidence) / 2, degrees))
    highest = mean + measured.resolution
    return max(_student(highest - bound, error, degrees), _student(highest - null.expected, spread, degrees))


def _student(distance: float, error: float, degrees: int) -> float:
    """One-sided p-value of a distance below 0 with this standard error; 0 or 1 where there is none."""
    return float(stats.t.cdf(distance / error, degrees)) if error > 0 else float(distance >= 0)


def _widened(interval: Interval, by: float) -> Interval:
    return interval[0] - by, interval[1] + by
