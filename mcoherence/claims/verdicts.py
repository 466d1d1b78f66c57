"""From a statistic to a verdict: intervals, margin, saturation, the null, and Holm's correction for refutations.

A part is

- supported where both intervals are above 0 and the mean is above the upper end of its null;
- not supported where both intervals are below -margin, after Holm's correction over the parts of its claim;
- inconclusive otherwise, with the reason: saturated, equivalent within the margin, not above its null, and so on.

A claim is supported only where all of its parts are. That needs no correction: if one part does not hold, the claim is
supported no more often than that part is, whatever the number of others (intersection-union test; Berger, Technometrics
24, 1982). It is not supported where any of its parts is refuted, and of many parts that hold some would be by chance:
with no effect at all one of 20 independent parts is in 40% of studies. So a part counts as refuted only at the level
that Holm's step-down procedure leaves it (Holm, Scandinavian Journal of Statistics 6, 1979; parts may depend on each
other), with the one-sided p-value of Student's t that the mean is at least -margin, at (1 - confidence) / 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mcoherence.claims import nulls
from mcoherence.claims.intervals import Interval, percentile_bootstrap, students_t
from mcoherence.claims.measured import Exact, Measured, Rates
from mcoherence.claims.nulls import Null
from mcoherence.claims.power import detectable

Verdict = Literal["supported", "not supported", "inconclusive", "reported"]
EQUIVALENT = "equivalent within the margin"
SATURATED = "saturated"


@dataclass(frozen=True)
class Part:
    """One tested number: where it was taken, its values per seed (none where it is exact), mean, intervals, verdict.

    interval: the percentile bootstrap's; t_interval: Student's; both are that of rounding where the number is exact.
    null: what the mean gives where there is nothing to find; margin: what counts as equality; detectable: the smallest
    effect that so many seeds of this spread find in 80% of cases; refutation_p: the one-sided p-value against a mean of
    at least -margin, corrected over the claim's parts; rates, note: see `Measured`; reason: of the verdict, in words.
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
    detectable: float | None = None
    refutation_p: float | None = None
    rates: Rates | None = None
    note: str = ""

    @property
    def support(self) -> tuple[int, bool, float]:
        """How far the part carries its claim, the least first: verdict, whether there is a number, interval."""
        if self.interval is None or self.t_interval is None:
            return 1, False, 0.0
        verdict = self.verdict
        if verdict == "reported":
            verdict, _ = _judged((self.interval, self.t_interval), None, self.margin)
        return {"not supported": 0, "inconclusive": 1, "supported": 2}[verdict], True, self.t_interval[0]


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
        return Part(
            where, finite, None, None, None, "inconclusive", reason, null, measured.margin,
            rates=measured.rates, note=measured.note,
        )  # fmt: skip
    bootstrap, t = (
        _widened(interval(numbers, confidence), measured.resolution) for interval in (percentile_bootstrap, students_t)
    )
    mean = float(numbers.mean())
    verdict, reason = _judged((bootstrap, t), null, measured.margin, mean)
    if measured.saturated:
        verdict, reason = "inconclusive", SATURATED
    return Part(
        where, values, mean, bootstrap, t, verdict, reason, null, measured.margin,
        detectable=detectable(numbers, confidence) + measured.resolution,
        refutation_p=_p_of_refutation(numbers, measured.margin + measured.resolution),
        rates=measured.rates, note=measured.note,
    )  # fmt: skip


def _exact_part(where: str, measured: Exact) -> Part:
    interval, null = _widened((measured.value, measured.value), measured.rounding), nulls.rounding(measured.rounding)
    verdict, reason = _judged((interval, interval), null, 0.0)
    p = float(interval[1] >= 0)  # no chance: refuted or not
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
    intervals: tuple[Interval, Interval], null: Null | None, margin: float, value: float | None = None
) -> tuple[Verdict, str]:
    """Verdict and reason of a part by itself; `value` is compared with its null, the middle of an exact one's."""
    low, high = min(one[0] for one in intervals), max(one[1] for one in intervals)
    if high < -margin:
        return "not supported", "both intervals are below " + (f"-{margin:g}, the margin" if margin else "0")
    if -margin <= low and high <= margin:
        return "inconclusive", EQUIVALENT
    if low <= 0:
        return "inconclusive", "an interval holds 0" if high > 0 else "below 0, but not beyond the margin"
    if null is not None:
        if null.interval is None:
            return "inconclusive", f"its null is {null.rule}"
        if null.interval[0] > 0:
            return "inconclusive", "its null is above 0 as well"
        if (low if value is None else value) <= null.interval[1]:
            return "inconclusive", "not above its null"
    return "supported", "both intervals are above 0" + (", the mean above its null" if null else "")


def _null_of(measured: Measured) -> Null | None:
    null = measured.null
    if null is None or null.interval is None or not measured.resolution:
        return null
    return Null(_widened(null.interval, measured.resolution), f"{null.rule}; widened by the spacing of checkpoints")


def _p_of_refutation(values: NDArray[np.float64], slack: float) -> float:
    """One-sided p-value of Student's t for a mean of at least -slack, [n] values; 0 or 1 where they do not vary."""
    distance = float(values.mean()) + slack
    error = float(values.std(ddof=1)) / np.sqrt(len(values))
    if error == 0:
        return float(distance >= 0)
    return float(stats.t.cdf(distance / error, len(values) - 1))


def _widened(interval: Interval, by: float) -> Interval:
    return interval[0] - by, interval[1] + by
