"""Do methods that take medians prevent memorisation, delay it, or both? A finding by rule, for every setting.

Each method is compared with SGD within a seed, both at the rate that was chosen for them on other seeds: by the corrupt
labels that it has fitted where the accuracy on pristine examples first reaches `equal_fit`, and by the time at which
half of the corrupt labels are fitted. A method prevents where it has fitted fewer at equal fit, and delays where it
takes longer.

Runs that never get there are kept. A time that does not come within a run is censored at its end, at the same number of
epochs for both, so restricted times are compared: the time or the end, whichever is sooner. Their mean is known without
leaving a run out (restricted mean survival time; Royston and Parmar, Statistics in Medicine 30, 2011), and it is no
estimate of the time beyond. What is fitted at equal fit has no such bound, so it is missing where a run never fits the
pristine examples: a setting with such a run is open, and a mean that has to leave settings out decides nothing and says
how many they are.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.claims.intervals import Interval, students_t
from mcoherence.claims.measured import Measured, Parts, PerSeed, Tables
from mcoherence.claims.nulls import equal_conditions, unknown
from mcoherence.claims.registry import claim
from mcoherence.claims.settings import ClaimSettings
from mcoherence.tables.median_scale import KIND

FINDINGS = {
    (True, True): "prevention and delay",
    (True, False): "prevention",
    (False, True): "delay",
    (False, False): "neither",
}
LONGER = "a run of the method never fits half of the corrupt labels, so the delay may be longer than the runs say"
SHORTER = "a run of SGD never fits half of the corrupt labels, so the delay may be shorter than the runs say"
OPEN = "open"  # no interval that decides


@dataclass(frozen=True)
class Finding:
    """What a method does in one setting against SGD; numbers by seed, NaN where a run is missing or never gets there.

    fitted, fitted_by_sgd: accuracy on corrupt examples at equal fit of pristine ones. time, time_of_sgd: log2 of the
    epochs until half of the corrupt labels are fitted, or of the end of the shorter of the two runs if that is sooner.
    never, never_by_sgd: seeds whose run does not fit so many by then.
    """

    dataset: str
    model: str
    method: str
    batch_size: int
    per_class: float
    fitted: PerSeed
    fitted_by_sgd: PerSeed
    time: PerSeed
    time_of_sgd: PerSeed
    never: int
    never_by_sgd: int

    @property
    def fewer(self) -> PerSeed:
        """How many fewer corrupt labels the method has fitted than SGD where both fit pristine ones equally well."""
        return self.fitted_by_sgd - self.fitted

    @property
    def longer(self) -> PerSeed:
        """How much longer than SGD the method takes to fit half of the corrupt labels within the run, in doublings."""
        return self.time - self.time_of_sgd

    @property
    def where(self) -> str:
        """The setting, in words."""
        return f"{self.dataset}, {self.model}, {self.method}, batches of {self.batch_size}"

    def delay_is_open_because(self, settings: ClaimSettings) -> str:
        """Why a run that never gets there leaves the delay open; empty where none does."""
        return open_because(interval(self.longer, settings.confidence), self.never, self.never_by_sgd, settings.delay)

    def words(self, settings: ClaimSettings) -> str:
        """Prevention, delay, both, neither, or open, where an interval neither passes its margin nor stays within."""
        prevents = passes(interval(self.fewer, settings.confidence), settings.equivalence_margin)
        delays = passes(interval(self.longer, settings.confidence), settings.delay)
        if (delays and self.never_by_sgd) or (delays is False and self.never):  # may be shorter, or longer
            delays = None
        if prevents is None or delays is None:
            found = [name for name, yes in (("prevention", prevents), ("delay", delays)) if yes]
            return f"{found[0]}, else open" if found else OPEN
        return FINDINGS[prevents, delays]


def interval(values: PerSeed, confidence: float) -> Interval | None:
    """Student's t interval of the mean over seeds; None with fewer than two, or where one has no number."""
    numbers = values.to_numpy(np.float64)
    return students_t(numbers, confidence) if len(numbers) > 1 and np.isfinite(numbers).all() else None


def open_because(longer: Interval | None, never: int, never_by_sgd: int, margin: float) -> str:
    """Why a delay stays open although its interval is known, in words; empty where the interval decides.

    margin: doublings up to which times count as equal.

    The true delay of a method that never gets there is longer than that to the end of the runs, and shorter where SGD
    never does. So the one leaves standing a delay that is there already, the other a method that is faster already.
    """
    if longer is None:
        return ""
    low, high = longer
    if never and low <= margin:
        return LONGER
    return SHORTER if never_by_sgd and high >= -margin else ""


def passes(bounds: Interval | None, margin: float) -> bool | None:
    """Whether a mean lies above the margin: True or False where its interval says so, None where it does not."""
    if bounds is None:
        return None
    low, high = bounds
    return True if low > margin else False if high <= margin else None


def findings(table: pd.DataFrame) -> list[Finding]:
    """Every method but the reference, in every setting where a rate was chosen for both, in the table's order."""
    every = table[~table["tuning"].astype(bool)]
    reported = every[every["chosen"].astype(bool) & ~every["diverged"].astype(bool)]
    seeds = sorted(every["seed"].unique())
    found = []
    for (dataset, model, method, batch_size), rows in reported.groupby(KIND, sort=False, observed=True):
        if rows["reference"].all():
            continue
        same = (reported[["dataset", "model", "batch_size"]] == [dataset, model, batch_size]).all(axis=1)
        sgd = reported[same & reported["reference"].astype(bool)].set_index("seed").reindex(seeds)
        own = rows.set_index("seed").reindex(seeds)
        if sgd["end_epoch"].isna().all():
            continue
        end = pd.concat([own["end_epoch"], sgd["end_epoch"]], axis=1).astype(float).min(axis=1, skipna=False)
        time, time_of_sgd = (one["memorised_epoch"].astype(float) for one in (own, sgd))
        found.append(
            Finding(
                str(dataset),
                str(model),
                str(method),
                int(str(batch_size)),
                float(rows["per_class"].iloc[0]),
                own["corrupt_at_fit"].astype(float),
                sgd["corrupt_at_fit"].astype(float),
                _log2(_until(end, time)),
                _log2(_until(end, time_of_sgd)),
                int((time > end).sum()),
                int((time_of_sgd > end).sum()),
            )
        )
    return found


def settings_without(table: pd.DataFrame, found: list[Finding]) -> dict[str, int]:
    """Method -> in how many of its settings no rate was chosen for it or for SGD, so that there is no finding."""
    kinds = table.loc[~table["reference"].astype(bool), KIND].drop_duplicates()
    compared = [one.method for one in found]
    return {str(method): len(rows) - compared.count(str(method)) for method, rows in kinds.groupby("method")}


def statement(found: list[Finding], settings: ClaimSettings) -> dict[str, str]:
    """Method -> a sentence: in how many settings it prevents, delays, does both or neither, and for which groups.

    Settings are counted one by one, with an interval each that is not corrected for their number.
    """
    sentences: dict[str, str] = {}
    for method in dict.fromkeys(one.method for one in found):
        own = [one for one in found if one.method == method]
        words: dict[str, list[Finding]] = {}
        for one in own:
            words.setdefault(one.words(settings), []).append(one)
        counts = ", ".join(
            f"{name} in {len(where)} ({_range([one.per_class for one in where])})" for name, where in words.items()
        )
        sentences[method] = f"of {len(own)} settings {counts}"
    return sentences


def _range(values: list[float]) -> str:
    """Examples of a class in a group, from the least to the most."""
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return f"{low} per class" if low == high else f"{low} to {high} per class"


@claim(
    "E14",
    "Each method is taken at the rate at which it learns soonest. A method that takes a median of gradients fits fewer "
    "corrupt labels than SGD where both fit pristine ones equally well (prevention), or takes longer to fit the "
    "corrupt ones (delay).",
    short="medians prevent or delay",
    source="this project; no paper is known to us that compares the two by the examples of a class in a group",
    statistic=(
        "prevention: accuracy on corrupt examples where that on pristine ones first reaches equal_fit, SGD's minus the "
        "method's; delay: doublings of SGD's time until half of the corrupt labels are fitted, the whole run standing "
        "for a time that does not come within it, with either, and times within delay_factor equal. A finding, in "
        "words, follows from both intervals over seeds, which are not corrected for the number of settings"
    ),
    unit="points",
    figure="median_scale",
    tables=("median_scale",),
    needs="runs of SGD and of another method at the rates chosen for them",
    level="III",
)
def prevention_or_delay(tables: Tables, settings: ClaimSettings) -> Parts:
    """How many fewer corrupt labels at equal fit, and how many doublings of SGD's time, by method and setting.

    Null: the same of different seeds of one method, SGD or the other. Before them, for every method, the means over
    its settings, with the findings counted in words. A mean of the settings that all runs fit is one of a selection,
    which may flatter either side: it says how many are left out, and decides nothing.
    """
    table = tables["median_scale"]
    found, margin = findings(table), settings.equivalence_margin
    without = settings_without(table, found)
    parts: dict[str, Measured] = {}
    for method, sentence in statement(found, settings).items():
        own = [one for one in found if one.method == method]
        number = len(own) + without[method]
        fitted = [one for one in own if one.fewer.notna().all()]
        left_out = _left_out(number, without[method], len(own) - len(fitted), settings.equal_fit)
        parts[f"{method}, {_mean_of(len(fitted), number)}, prevention"] = replace(
            _mean(fitted, "fitted_by_sgd", "fitted", settings), margin=margin, note=sentence, open_because=left_out
        )
        delay = _mean(own, "time", "time_of_sgd", settings)
        unfinished = sum(one.never for one in own), sum(one.never_by_sgd for one in own)
        ended = open_because(interval(delay.per_seed, settings.confidence), *unfinished, settings.delay)
        never = f"{sum(one.never > 0 for one in own)} of the method, {sum(one.never_by_sgd > 0 for one in own)} of SGD"
        parts[f"{method}, {_mean_of(len(own), number)}, delay"] = replace(
            delay,
            margin=settings.delay,
            unit="doublings",
            note=f"{sentence}; settings with a run that never fits half of the corrupt labels: {never}",
            open_because=_left_out(number, without[method], 0, settings.equal_fit) or ended,
        )
    for one in found:
        words = one.words(settings)
        note = f"{words}; {one.per_class:.2g} examples of a class in a group"
        parts[f"{one.where}, prevention"] = Measured(
            one.fewer,
            null=equal_conditions([one.fitted_by_sgd, one.fitted], settings.confidence),
            margin=margin,
            note=note,
            missing_because=f"in the others a run never fits {settings.equal_fit:g} of the pristine examples",
        )
        seeds = [f"{one.never} of {len(one.time)} seeds"] if one.never else []
        seeds += [f"{one.never_by_sgd} of SGD's"] if one.never_by_sgd else []
        parts[f"{one.where}, delay"] = Measured(
            one.longer,
            null=equal_conditions([one.time_of_sgd, one.time], settings.confidence),
            margin=settings.delay,
            note=note + (f"; {' and '.join(seeds)} never fit half of the corrupt labels" if seeds else ""),
            open_because=one.delay_is_open_because(settings),
            unit="doublings",
        )
    return parts


def _mean(own: list[Finding], more: str, less: str, settings: ClaimSettings) -> Measured:
    """Mean over settings, by seed, of a difference of two of their numbers; no number for a seed that lacks one."""
    if not own:
        return Measured(pd.Series(dtype=np.float64), null=unknown("settings in which all runs get there"))
    first, second = (pd.concat([getattr(one, name) for one in own], axis=1) for name in (more, less))
    null = equal_conditions([first, second], settings.confidence, _mean_difference)
    return Measured((first - second).mean(axis=1, skipna=False), null=null)


def _mean_of(number: int, of: int) -> str:
    return "mean of all settings" if number == of else f"mean of {number} of {of} settings"


def _left_out(number: int, without_rate: int, not_fitted: int, fit: float) -> str:
    """Why a mean over settings decides nothing: which of them it leaves out; empty where it has all."""
    causes = {
        "no rate was chosen for the method or for SGD": without_rate,
        f"some run never fits {fit:g} of the pristine examples": not_fitted,
    }
    reasons = " and ".join(f"{count} in which {cause}" for cause, count in causes.items() if count)
    return f"of {number} settings it leaves out {reasons}" if reasons else ""


def _until(end: PerSeed, time: PerSeed) -> PerSeed:
    """The time, or the end where it comes later; NaN where either is missing."""
    return pd.concat([end, time], axis=1).min(axis=1, skipna=False)


def _log2(values: PerSeed) -> PerSeed:
    return pd.Series(np.log2(values.to_numpy(np.float64)), index=values.index)


def _mean_difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over settings of differences [D] of two seeds' values [D, settings]."""
    return np.asarray((first - second).mean(axis=1))
