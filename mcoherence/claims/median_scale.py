"""Do methods that take medians prevent memorisation, delay it, or both? A finding by rule, for every setting.

Each method is compared with SGD within a seed, both at the rate that was chosen for them on other seeds: by the corrupt
labels that it has fitted where the accuracy on pristine examples first reaches 0.95, and by the time at which half of
the corrupt labels are fitted. A method prevents where it has fitted fewer at equal fit, and delays where it takes
longer.
"""

from dataclasses import dataclass
from math import log2

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.claims.intervals import Interval, students_t
from mcoherence.claims.measured import Measured, Parts, PerSeed, Tables
from mcoherence.claims.nulls import equal_conditions
from mcoherence.claims.registry import claim
from mcoherence.claims.settings import ClaimSettings
from mcoherence.tables.median_scale import KIND

DELAY = log2(1.25)  # doublings of SGD's time up to which another time counts as equal
FINDINGS = {
    (True, True): "prevention and delay",
    (True, False): "prevention",
    (False, True): "delay",
    (False, False): "neither",
}
OPEN = "open"  # no interval that decides


@dataclass(frozen=True)
class Finding:
    """What a method does in one setting against SGD; numbers by seed, those with a partner of the same seed.

    fitted, fitted_by_sgd: accuracy on corrupt examples at equal fit of pristine ones. time, time_of_sgd: log2 of the
    epochs until half of the corrupt labels are fitted; where the method never gets there, of the whole run, so that it
    is at least as much. never: seeds of which that holds.
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

    @property
    def fewer(self) -> PerSeed:
        """How many fewer corrupt labels the method has fitted than SGD where both fit pristine ones equally well."""
        return (self.fitted_by_sgd - self.fitted).dropna()

    @property
    def longer(self) -> PerSeed:
        """How much longer than SGD the method takes to fit half of the corrupt labels, in doublings."""
        return (self.time - self.time_of_sgd).dropna()

    @property
    def where(self) -> str:
        """The setting, in words."""
        return f"{self.dataset}, {self.model}, {self.method}, batches of {self.batch_size}"

    def words(self, confidence: float, margin: float) -> str:
        """Prevention, delay, both, neither, or open, where an interval neither passes its margin nor stays within."""
        prevents = passes(interval(self.fewer, confidence), margin)
        delays = passes(interval(self.longer, confidence), DELAY)
        if prevents is None or delays is None:
            found = [name for name, yes in (("prevention", prevents), ("delay", delays)) if yes]
            return f"{found[0]}, else open" if found else OPEN
        return FINDINGS[prevents, delays]


def interval(values: PerSeed, confidence: float) -> Interval | None:
    """Student's t interval of the mean over seeds; None with fewer than two."""
    return students_t(values.to_numpy(np.float64), confidence) if len(values) > 1 else None


def passes(bounds: Interval | None, margin: float) -> bool | None:
    """Whether a mean lies above the margin: True or False where its interval says so, None where it does not."""
    if bounds is None:
        return None
    low, high = bounds
    return True if low > margin else False if high <= margin else None


def findings(table: pd.DataFrame) -> list[Finding]:
    """Every method but the reference, in every setting where a rate was chosen for both, in the table's order."""
    reported = table[table["chosen"].astype(bool) & ~table["tuning"].astype(bool) & ~table["diverged"].astype(bool)]
    found = []
    for (dataset, model, method, batch_size), rows in reported.groupby(KIND, sort=False, observed=True):
        if rows["reference"].all():
            continue
        same = (reported[["dataset", "model", "batch_size"]] == [dataset, model, batch_size]).all(axis=1)
        sgd = reported[same & reported["reference"].astype(bool)].set_index("seed")
        own = rows.set_index("seed")
        both = own.index.intersection(sgd.index)
        if len(both) == 0:
            continue
        sgd, own = sgd.loc[both], own.loc[both]
        found.append(
            Finding(
                str(dataset),
                str(model),
                str(method),
                int(str(batch_size)),
                float(own["per_class"].iloc[0]),
                own["corrupt_at_fit"].astype(float),
                sgd["corrupt_at_fit"].astype(float),
                _log2(own["memorised_epoch"].where(np.isfinite(own["memorised_epoch"]), own["end_epoch"])),
                _log2(sgd["memorised_epoch"].where(np.isfinite(sgd["memorised_epoch"]))),
                int(np.isinf(own["memorised_epoch"]).sum()),
            )
        )
    return found


def statement(found: list[Finding], confidence: float, margin: float) -> dict[str, str]:
    """Method -> a sentence: in how many settings it prevents, delays, does both or neither, and for which groups.

    Settings are counted one by one, with an interval each that is not corrected for their number.
    """
    sentences: dict[str, str] = {}
    for method in dict.fromkeys(one.method for one in found):
        own = [one for one in found if one.method == method]
        words: dict[str, list[Finding]] = {}
        for one in own:
            words.setdefault(one.words(confidence, margin), []).append(one)
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
    "At the rate at which each learns soonest, a method that takes a median of gradients fits fewer corrupt labels "
    "than SGD where both fit pristine ones equally well (prevention), or takes longer to fit them (delay).",
    source="this project; no paper is known to us that compares the two by the examples of a class in a group",
    statistic=(
        "prevention: accuracy on corrupt examples where that on pristine ones first reaches 0.95, SGD's minus the "
        "method's; delay: doublings of SGD's time until half of the corrupt labels are fitted, the whole run standing "
        "for a time that never comes. A finding, in words, follows from both intervals over seeds, which are not "
        "corrected for the number of settings"
    ),
    tables=("median_scale",),
    needs="runs of SGD and of another method at the rates chosen for them",
    level="III",
)
def prevention_or_delay(tables: Tables, settings: ClaimSettings) -> Parts:
    """How many fewer corrupt labels at equal fit, and how many doublings of SGD's time, by method and setting.

    Null: the same of different seeds of one method, SGD or the other. Before them, for every method, the means over
    its settings, with the findings counted in words.
    """
    found, margin = findings(tables["median_scale"]), settings.equivalence_margin
    parts: dict[str, Measured] = {}
    for method, sentence in statement(found, settings.confidence, margin).items():
        own = [one for one in found if one.method == method]
        for name, sgd, ours, sign, least in (
            ("prevention", [one.fitted_by_sgd for one in own], [one.fitted for one in own], 1, margin),
            ("delay", [one.time_of_sgd for one in own], [one.time for one in own], -1, DELAY),
        ):
            first, second = (pd.concat(of_settings, axis=1) for of_settings in (sgd, ours))
            means = sign * (first - second).mean(axis=1)
            null = equal_conditions([first, second], settings.confidence, _mean_difference)
            where = f"{method}, mean of all settings, {name}"
            parts[where] = Measured(means.dropna(), null=null, margin=least, note=sentence)
    for one in found:
        words = one.words(settings.confidence, margin)
        note = f"{words}; {one.per_class:.2g} examples of a class in a group"
        never = f"; {one.never} of {len(one.longer)} seeds never fit half of the corrupt labels" if one.never else ""
        if len(one.fewer):
            null = equal_conditions([one.fitted_by_sgd, one.fitted], settings.confidence)
            parts[f"{one.where}, prevention"] = Measured(one.fewer, null=null, margin=margin, note=note)
        if len(one.longer):
            null = equal_conditions([one.time_of_sgd, one.time], settings.confidence)
            parts[f"{one.where}, delay"] = Measured(one.longer, null=null, margin=DELAY, note=note + never)
    return parts


def _log2(values: PerSeed) -> PerSeed:
    return pd.Series(np.log2(values.to_numpy(np.float64)), index=values.index)


def _mean_difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over settings of differences [D] of two seeds' values [D, settings]."""
    return np.asarray((first - second).mean(axis=1))
