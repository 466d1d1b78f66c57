"""What is read off the curve of m-coherence along one run: its initial transient, its peak, its values at a loss.

Curves are read on logarithms, of m-coherence to base 10 and of the step as log2(step + 1), so that an octave is the
same stretch everywhere and step 0 has a place. Index letter: K checkpoints of a run, in the order of their steps.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mcoherence.tables.crossings import between, first_crossing


@dataclass(frozen=True)
class Reading:
    """How curves are read; own choices of a study, none of them a number of the papers.

    first_step: where all transients end, in place of what the curves say; None: they say it.
    peak_window: octaves of log2(step + 1) that a smoothed value is a mean over.
    transient_start: smoothed m-coherence above which a curve starts high enough for a transient.
    transient_factor: by which it falls from there at least, and then rises again.
    """

    first_step: int | None = None
    peak_window: float = 1.0
    transient_start: float = 3.0
    transient_factor: float = 2.0


DEFAULT = Reading()


@dataclass(frozen=True)
class Peak:
    """The highest smoothed value of a curve: its log10, and the step of the checkpoint in the middle of the window."""

    log10: float
    step: float


def smoothed(step: ArrayLike, m_coherence: ArrayLike, window: float = DEFAULT.peak_window) -> NDArray[np.float64]:
    """log10 of the geometric mean of m-coherence over the octave around each checkpoint, float64 [K].

    The mean is the integral of log10 m-coherence, linear between checkpoints, over the window around log2(step + 1),
    cut off at the ends of the curve. An integral over a stretch and not a mean over some checkpoints, so that it hardly
    depends on how dense these are. Where m-coherence is no positive number, the curve goes straight from one
    neighbour to the other, and the value there is NaN.

    Args:
        step: of the checkpoints, ascending, [K].
        m_coherence: at them, [K].
        window: octaves; 0 leaves the curve as it is.

    Example:
        >>> smoothed([3, 7, 15], [1, 100, 1]).round(2).tolist()
        [0.5, 1.5, 0.5]
    """
    place, logs, is_number = _on_logarithms(step, m_coherence)
    if not is_number.any():
        return np.full(len(place), np.nan)
    known, values = place[is_number], logs[is_number]
    low = np.maximum(place - window / 2, known[0])
    high = np.minimum(place + window / 2, known[-1])
    with np.errstate(invalid="ignore"):
        means = (_integral(high, known, values) - _integral(low, known, values)) / (high - low)
    means = np.where(high > low, means, logs)
    return np.where(is_number, means, np.nan)


def end_of_transient(step: ArrayLike, m_coherence: ArrayLike, reading: Reading = DEFAULT) -> float:
    """The step at which the initial transient of a curve ends: 0 where there is none, NaN where it has no end.

    A transient is a fall from a high start of the curve, by a factor of at least two, to a minimum after which the
    curve rises by as much again, all smoothed; it ends at the first such minimum. A curve that starts low or begins by
    rising has none. One that falls from its start and never rises has no peak that could be told from that start, so
    that no end is known; where it was higher before it fell, that was its peak.

    Source: arXiv 2008.01217 sees m-coherence fall from near m within about 25 steps, and then rise. The rule is ours.

    Args:
        step: of the checkpoints, ascending, [K].
        m_coherence: at them, [K].
        reading: what is high, and by which factor; with a first_step that is the end.

    Example:
        >>> end_of_transient([0, 1, 2, 4, 8, 16], [500, 100, 5, 2, 40, 1])
        4.0
        >>> end_of_transient([0, 1, 2, 4, 8, 16], [1, 2, 5, 9, 2, 1])
        0.0
    """
    if reading.first_step is not None:
        return float(reading.first_step)
    steps, logs = np.asarray(step, dtype=np.float64), smoothed(step, m_coherence, reading.peak_window)
    steps, logs = steps[np.isfinite(logs)], logs[np.isfinite(logs)]
    if len(logs) == 0:
        return np.nan
    factor = np.log10(reading.transient_factor)
    risen = np.flatnonzero(logs - np.minimum.accumulate(logs) >= factor)
    before = logs[: risen[0]] if len(risen) else logs
    if logs[0] < np.log10(reading.transient_start) or logs[0] - before.min() < factor:
        return 0.0
    if len(risen):
        return float(steps[int(before.argmin())])
    return 0.0 if logs.max() > logs[0] else np.nan


def peak(step: ArrayLike, m_coherence: ArrayLike, begin: float = 0.0, window: float = DEFAULT.peak_window) -> Peak:
    """The highest smoothed value from the step `begin` on; NaN where no checkpoint is there, or `begin` is NaN.

    Args:
        step: of the checkpoints, ascending, [K].
        m_coherence: at them, [K].
        begin: checkpoints before it take no part, nor in the mean over a window.
        window: octaves of that mean.

    Example:
        >>> peak([0, 3, 7, 15], [900, 1, 100, 1], begin=3)
        Peak(log10=1.5, step=7.0)
    """
    steps, values = np.asarray(step, dtype=np.float64), np.asarray(m_coherence, dtype=np.float64)
    later = steps >= begin
    logs = smoothed(steps[later], values[later], window)
    if not np.isfinite(logs).any():
        return Peak(np.nan, np.nan)
    highest = int(np.nanargmax(logs))
    return Peak(float(logs[highest]), float(steps[later][highest]))


def at_losses(loss: ArrayLike, m_coherence: ArrayLike, levels: ArrayLike, first: int = 0) -> NDArray[np.float64]:
    """log10 m-coherence where the training loss first falls to each of some levels, linear in between; [L].

    NaN for a level that the loss never falls to, and for one that it had fallen to before the checkpoint `first`.

    Args:
        loss: at the checkpoints, in the order of their steps, [K].
        m_coherence: at them, [K].
        levels: of the loss, [L].
        first: position of the first checkpoint that counts, the end of the transient.

    Example:
        >>> at_losses([2.0, 1.0, 1.5, 0.0], [1, 100, 1, 10], [1.5, 0.5, -1]).round(2).tolist()
        [1.0, 0.67, nan]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(np.asarray(m_coherence, dtype=np.float64))
    places = first_crossing(-np.asarray(loss, dtype=np.float64), -np.asarray(levels, dtype=np.float64))
    return np.where(places > first, between(logs, places), np.nan)


def ends_of_transients(curves: pd.DataFrame, keys: list[str], reading: Reading = DEFAULT) -> pd.DataFrame:
    """The step at which the transient of each curve ends: a row per curve, columns `keys` and end_of_transient.

    Args:
        curves: step and m_coherence of checkpoints, a curve for each value of the keys.
        keys: columns.
        reading: see `end_of_transient`.
    """
    rows = []
    for key, curve in curves.groupby(keys, sort=False):
        ordered = curve.sort_values("step")
        rows.append((*key, end_of_transient(ordered["step"], ordered["m_coherence"], reading)))
    return pd.DataFrame(rows, columns=[*keys, "end_of_transient"])


def _on_logarithms(
    step: ArrayLike, m_coherence: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """log2(step + 1), log10 m-coherence, and whether that is a number; each [K]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(np.asarray(m_coherence, dtype=np.float64))
    return np.log2(np.asarray(step, dtype=np.float64) + 1), logs, np.isfinite(logs)


def _integral(ends: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The integral of the straight lines through (x, y) from x[0] to each of `ends`, which lie within x."""
    until = np.concatenate([[0.0], np.cumsum(np.diff(x) * (y[1:] + y[:-1]) / 2)])
    before = np.clip(np.searchsorted(x, ends, side="right") - 1, 0, len(x) - 1)
    return np.asarray(until[before] + (ends - x[before]) * (y[before] + np.interp(ends, x, y)) / 2)
