"""Claims in words: what a study found of them, and where, in units that a person understands."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scipy import stats

from mcoherence.figures.intervals import FEWEST_WITH_BAND

TESTED = ("supported", "not supported", "inconclusive")
Part = Mapping[str, Any]
SMALLEST, LARGEST = 1e-3, 1e6  # factors; what lies beyond is said to be less or more
NEAR_ONE = (0.9, 1.1)  # factors between which two digits would hide on which side of 1 they are
NAMED = 3  # places that a sentence names one by one
NO_LARGER = "no larger than where there is no effect"
_REASONS = {
    "its null is above 0 as well": NO_LARGER,
    "not above its null": NO_LARGER,
    "equivalent within the margin": "a tie within the margin",
}


def headline_of(claims: Sequence[Mapping[str, Any]]) -> str:
    """How many of the claims that a study tests hold everywhere, in part, nowhere for certain, or fail, as a sentence.

    >>> headline_of([{"verdict": "supported", "parts": []}, {"verdict": "not tested", "parts": []}])
    'Of 1 claim tested, 1 holds wherever looked.'
    """
    tested = [claim for claim in claims if claim["verdict"] in TESTED]
    if not tested:
        return "This study tests no claim of the papers; what it measured is below."
    open_ = [claim for claim in tested if claim["verdict"] == "inconclusive"]
    partly = sum(any(part["verdict"] == "supported" for part in claim["parts"]) for claim in open_)
    counts = [
        (sum(claim["verdict"] == "supported" for claim in tested), "holds", "hold", " wherever looked"),
        (partly, "holds in part and is", "hold in part and are", " undecided elsewhere"),
        (len(open_) - partly, "is", "are", " undecided everywhere"),
        (sum(claim["verdict"] == "not supported" for claim in tested), "fails", "fail", " somewhere"),
    ]
    said = ", ".join(f"{number} {one if number == 1 else more}{where}" for number, one, more, where in counts if number)
    return f"Of {len(tested)} claim{'' if len(tested) == 1 else 's'} tested, {said}."


def caution_of(claims: Sequence[Mapping[str, Any]], confidence: float) -> str:
    """What to know of intervals over fewer than FEWEST_WITH_BAND seeds; "" where no tested claim rests on so few.

    >>> claim = {"verdict": "supported", "num_seeds": 2, "value": 0.3}
    >>> caution_of([claim], 0.95)[:68]
    'With two seeds a line reaches 12.7 standard errors to either side: f'
    """
    seeds = [claim["num_seeds"] for claim in claims if claim["verdict"] in TESTED and claim["value"] is not None]
    fewest = min((number for number in seeds if number > 1), default=FEWEST_WITH_BAND)
    if fewest >= FEWEST_WITH_BAND:
        return ""
    reach = float(stats.t.ppf((1 + confidence) / 2, fewest - 1))
    number = {2: "two", 3: "three"}[fewest]
    return (
        f"With {number} seeds a line reaches {reach:.1f} standard errors to either side: farther than some numbers can "
        f"go, such as a share. A verdict rests on {number} runs of each kind, so repeat it with more seeds before you "
        "build on it."
    )


def in_unit(value: float, unit: str) -> str:
    """A statistic as a person says it; of "factor" (its log10), "doublings" (its log2), "points" or "number".

    >>> in_unit(0.363, "factor"), in_unit(-0.1, "factor"), in_unit(0.054, "points"), in_unit(0.21, "number")
    ('2.3 times', '0.79 times', '+5.4 points', '+0.21')
    """
    if unit == "doublings":
        value, unit = value * math.log10(2), "factor"
    if unit == "factor":
        return f"{_factor(value)} times"
    if unit == "points":
        return f"{_signed(round(100 * value, 1), '.1f')} points"
    if 0 < abs(value) < 1e-4:
        return "nearly 0"
    if abs(value) >= 99.5:
        return _signed(value, ",.0f")
    return _signed(float(f"{value:.2g}"), "g")


def range_in_unit(interval: Sequence[float], unit: str) -> str:
    """An interval as a person says it, its unit once.

    >>> range_in_unit((0.1, 0.3), "factor"), range_in_unit((-0.01, 0.02), "points")
    ('1.3 to 2 times', '-1.0 to +2.0 points')
    """
    low, high = (in_unit(value, unit) for value in interval)
    return high if low == high else f"{low.removesuffix(' times').removesuffix(' points')} to {high}"


def counted(claim: Mapping[str, Any]) -> str:
    """In how many places a tested claim holds, for a row of a drawing, such as "holds in 6 of 8"."""
    parts = tested_parts(claim)
    held = sum(part["verdict"] == "supported" for part in parts)
    failed = sum(part["verdict"] == "not supported" for part in parts)
    return f"{f'fails in {failed}, ' if failed else ''}holds in {held} of {len(parts)}"


def tested_parts(claim: Mapping[str, Any]) -> Sequence[Part]:
    """The parts of a claim that a verdict is given to; all of them where none is."""
    return [part for part in claim["parts"] if part["verdict"] != "reported"] or claim["parts"]


def finding(claim: Mapping[str, Any]) -> str:
    """What the study found of a claim and where, in one plain sentence or two.

    Args:
        claim: as claims.json has it.
    """
    if claim["missing"] is not None:
        return f"Not tested: it {claim['missing']}."
    parts = tested_parts(claim)
    decisive = next(part for part in claim["parts"] if part["where"] == claim["where"])
    if claim["verdict"] == "reported":
        return f"Measured without a verdict, least certain in {_number(decisive)}."
    if len(parts) == 1:
        word = {"supported": "Holds", "not supported": "Fails", "inconclusive": "Undecided"}[claim["verdict"]]
        word = "A tie" if is_tie(decisive) else word
        return f"{word} in the one place looked at, {_number(decisive)}{_because([decisive])}."
    held, failed, open_ = ([part for part in parts if part["verdict"] == verdict] for verdict in TESTED)
    if claim["verdict"] == "supported":
        return f"Holds in {_all(parts)}, least certain in {_number(decisive)}."
    if claim["verdict"] == "not supported":
        counts = [f"holds in {len(held)}"] * bool(held) + [f"undecided in {len(open_)}"] * bool(open_)
        first = ", ".join([f"Fails in {len(failed)} of {len(parts)} places", *counts])
        which = f"It fails for {_named(failed, parts)}"
        clearest = f": {_value(decisive)}" if len(failed) == 1 else f"; clearest in {_number(decisive)}"
        return f"{first}. {which}{clearest}."
    if all(is_tie(part) for part in parts):
        return f"A tie in {_all(parts)}, least certain in {_number(decisive)}."
    if not held:
        return f"Undecided in {_all(parts)}, least certain in {_number(decisive)}{_because(open_)}."
    where = f" ({_named(held, parts)})" if len(held) < len(open_) else ""
    first = f"Holds for {len(held)} of {len(parts)} places{where}"
    if len(open_) == 1:
        return f"{first}; undecided for {_number(decisive)}{_because(open_)}."
    others = _named(open_, parts) if not where else f"the other {len(open_)}"
    return f"{first}; undecided for {others}, least certain in {_number(decisive)}{_because(open_)}."


def is_tie(part: Part) -> bool:
    """Whether what a part compares is equal as far as its study can tell: within the margin, or all at the limit."""
    return part["verdict"] == "inconclusive" and ("equivalent" in part["reason"] or "saturated" in part["reason"])


def reason_in_words(part: Part) -> str:
    """Why an undecided part is, for a reader who sees factors and not their logarithms."""
    reason: str = part["reason"]
    factor = part["unit"] in ("factor", "doublings")
    equal = ("1" if factor else "0") + (", the level that the claim states" if part["states_level"] else "")
    if reason == "an interval holds 0":
        low, high = part["t_interval"]
        which = "the interval" if low <= 0 <= high else "its bootstrap interval"
        no_difference = " (no difference)" if factor and not part["states_level"] else ""
        return f"{which} includes {equal}{no_difference}"
    if reason.startswith("below 0, but not beyond"):
        return f"below {equal}, but not beyond the margin"
    if reason.startswith("below ") and reason.endswith("not below its null"):
        return "no lower than where there is no effect"
    if "its null is " in reason and reason not in _REASONS:
        return "what to expect where there is no effect is not known"
    if reason.startswith("refuted alone"):
        return reason.replace("refuted alone, not as one", "against the claim by itself, but not as one")
    return _REASONS.get(reason, reason)


def value_in_words(part: Part) -> str:
    """The number of a part with its interval, which an exact one has not."""
    text = in_unit(part["value"], part["unit"])
    exact = not part["values_by_seed"]
    return text if exact else f"{text} ({range_in_unit(part['t_interval'], part['unit'])})"


def _because(open_: Sequence[Part]) -> str:
    """Why these are undecided, each reason once; with counts where there are several."""
    reasons = [reason_in_words(part) for part in open_ if part["verdict"] == "inconclusive" and not is_tie(part)]
    reasons += ["a tie within the margin" for part in open_ if is_tie(part) and len(open_) > 1]
    counts = {reason: reasons.count(reason) for reason in reasons}
    if not counts:
        return ""
    if len(counts) == 1:
        return f", {next(iter(counts))}" if len(open_) == 1 else f"; {next(iter(counts))}"
    ordered = sorted(counts.items(), key=lambda one: -one[1])
    return "; " + "; ".join(f"in {number}, {reason}" for reason, number in ordered)


def _named(some: Sequence[Part], parts: Sequence[Part]) -> str:
    """Which of the places they are: by what they alone have in common, or by name where these are few."""
    if len(some) == 1:
        return str(some[0]["where"])
    sets = {part["where"]: part["where"].split(", ") for part in parts}
    everywhere = set.intersection(*(set(words) for words in sets.values()))
    common = set.intersection(*(set(sets[part["where"]]) for part in some)) - everywhere
    alike = [where for where, words in sets.items() if common <= set(words)]
    if common and len(alike) == len(some):
        words = [word for word in sets[some[0]["where"]] if word in common]
        return f"the {len(some)} places of {', '.join(words)}"
    return "; ".join(str(part["where"]) for part in some) if len(some) <= NAMED else f"{len(some)} places"


def _all(parts: Sequence[Part]) -> str:
    return "both places" if len(parts) == 2 else f"all {len(parts)} places"


def _number(part: Part) -> str:
    value = _value(part)
    return f"{part['where']}: {value}" if value else str(part["where"])


def _value(part: Part) -> str:
    if part["value"] is None:
        return "" if part["verdict"] == "inconclusive" else f"no number, {part['reason']}"
    return value_in_words(part)


def _factor(exponent: float) -> str:
    """10 to this power to two digits, to three and more near 1, all digits before the point."""
    value = 10 ** min(exponent, 300.0)
    if value < SMALLEST:
        return f"less than {SMALLEST:g}"
    if value > LARGEST:
        return f"more than {LARGEST:,.0f}"
    if value >= 99.5:
        return f"{value:,.0f}"
    if not NEAR_ONE[0] <= value < NEAR_ONE[1]:
        return f"{float(f'{value:.2g}'):g}"
    # An interval that ends just beyond 1 must not be said to end at it.
    texts = [f"{value:.{digits}g}" for digits in (3, 4, 5)]
    return next((text for text in texts if float(text) != 1), "1")


def _signed(value: float, form: str) -> str:
    return f"{value:+{form}}" if value else f"{abs(value):{form}}"
