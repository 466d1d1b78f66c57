"""Claims in words: what a study found of them, in units that a person understands."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

TESTED = ("supported", "not supported", "inconclusive")


def headline_of(claims: Sequence[Mapping[str, Any]]) -> str:
    """How many of the claims that a study tests hold on its data, as a sentence.

    >>> headline_of([{"verdict": "supported"}, {"verdict": "inconclusive"}, {"verdict": "not tested"}])
    '1 of 2 tested claims holds on this data, 1 is open.'
    """
    verdicts = [claim["verdict"] for claim in claims if claim["verdict"] in TESTED]
    if not verdicts:
        return "This study tests no claim of the papers; what it measured is below."
    hold, fail, open_ = (verdicts.count(verdict) for verdict in TESTED)
    rest = [f"{fail} {'does' if fail == 1 else 'do'} not"] if fail else []
    rest += [f"{open_} {'is' if open_ == 1 else 'are'} open"] if open_ else []
    tested = f"{len(verdicts)} tested claim{'' if len(verdicts) == 1 else 's'}"
    return ", ".join([f"{hold} of {tested} {'holds' if hold == 1 else 'hold'} on this data", *rest]) + "."


def in_unit(value: float, unit: str) -> str:
    """A statistic as a person says it; of "factor" (its log10), "doublings" (its log2), "points" or "number".

    >>> in_unit(0.363, "factor"), in_unit(-0.1, "factor"), in_unit(0.054, "points"), in_unit(0.21, "number")
    ('2.3 times', '0.79 times', '+5.4 points', '+0.21')
    """
    if unit == "doublings":
        value, unit = value * math.log10(2), "factor"
    if unit == "factor":
        return f"{_digits(10**value)} times" if value < 6 else f"10^{value:.0f} times"
    if unit == "points":
        return f"{100 * value:+.1f} points"
    return f"{value:+.2g}"


def range_in_unit(interval: Sequence[float], unit: str) -> str:
    """An interval as a person says it.

    >>> range_in_unit((0.1, 0.3), "factor"), range_in_unit((-0.01, 0.02), "points")
    ('1.3 to 2 times', '-1.0 to +2.0 points')
    """
    low, high = (in_unit(value, unit) for value in interval)
    return f"{low.partition(' ')[0]} to {high}"


def finding(claim: Mapping[str, Any]) -> str:
    """What the study found of a claim, in one plain sentence or two.

    Args:
        claim: as claims.json has it.
    """
    if claim["missing"] is not None:
        return f"Not tested: it {claim['missing']}."
    parts = [part for part in claim["parts"] if part["verdict"] != "reported"] or claim["parts"]
    decisive = next(part for part in claim["parts"] if part["where"] == claim["where"])
    number = _number(decisive)
    if claim["verdict"] == "reported":
        return f"Measured without a verdict. {number}."
    held = sum(part["verdict"] == "supported" for part in parts)
    places = f"{len(parts)} places" if len(parts) > 1 else "one place"
    if claim["verdict"] == "supported":
        where = "in the one place looked at" if len(parts) == 1 else f"in all {places}"
        return f"Holds {where}. The weakest: {number}." if len(parts) > 1 else f"Holds {where}: {number}."
    if claim["verdict"] == "not supported":
        failed = sum(part["verdict"] == "not supported" for part in parts)
        return f"Fails in {failed} of {places}. The clearest: {number}."
    if all(is_tie(part) for part in parts):
        return f"A tie in {'all ' if len(parts) > 1 else ''}{places}. {number}."
    why = f": {decisive['reason']}" if decisive["value"] is not None else ""
    return f"Open: holds in {held} of {places}. Not decided by {number}{why}."


def is_tie(part: Mapping[str, Any]) -> bool:
    """Whether what a part compares is equal as far as its study can tell: within the margin, or all at the limit."""
    return part["verdict"] == "inconclusive" and ("equivalent" in part["reason"] or "saturated" in part["reason"])


def _number(part: Mapping[str, Any]) -> str:
    if part["value"] is None:
        return f"{part['where']}, no number ({part['reason']})"
    text = f"{part['where']}, {in_unit(part['value'], part['unit'])}"
    return f"{text} ({range_in_unit(part['t_interval'], part['unit'])})"


def _digits(value: float) -> str:
    """A positive number to two digits, or all digits before the point."""
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"
