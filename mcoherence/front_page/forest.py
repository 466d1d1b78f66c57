"""Rows of the forest plot: every place of every tested claim, where it stands on the axis of its unit and in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mcoherence.front_page.wording import TESTED, counted, range_in_unit, reason_in_words, tested_parts, value_in_words


def forest_rows(claims: Sequence[Mapping[str, Any]]) -> dict[str, pd.DataFrame]:
    """Rows of the forest plot by unit: every place of every tested claim that has a number there."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for claim in claims:
        if claim["verdict"] not in TESTED:
            continue
        for part in tested_parts(claim):
            if part["value"] is not None:
                unit = "factor" if part["unit"] == "doublings" else part["unit"]
                rows.setdefault(unit, []).append(_forest_row(claim, part))
    ordered = [unit for unit in ("factor", "points", "number") if unit in rows]
    return {f"forest_{unit}": pd.DataFrame(rows[unit]) for unit in ordered}


def _forest_row(claim: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    unit = part["unit"]
    decides = part["where"] == claim["where"]
    null = None if part["states_level"] else part["null"]  # what a level is held against is the level
    numbers = {"value": part["value"]}
    if decides:
        numbers |= dict(zip(("low", "high"), part["t_interval"], strict=True))
        numbers |= dict(zip(("null_low", "null_high"), null, strict=True)) if null else {}
    in_words = value_in_words(part)
    return {
        "claim": f"{claim['id']} {claim['short']}",
        "counted": counted(claim),
        "fraction": counted(claim).rpartition("holds in ")[2],
        "link": f"#claim-{claim['id']}",
        "text": claim["statement"],
        "verdict": claim["verdict"],
        "place": part["where"],
        "place_verdict": part["verdict"],
        "decides": "yes" if decides else "no",
        "in_words": f"{in_words}; {reason_in_words(part)}" if part["verdict"] == "inconclusive" else in_words,
        "null_in_words": "the claim states a level" if part["states_level"]
        else range_in_unit(null, unit) if null else "not known",
        **dict.fromkeys(("low", "high", "null_low", "null_high"), float("nan")),
        **{name: _on_axis(value, unit) for name, value in numbers.items()},
    }  # fmt: skip


def _on_axis(value: float, unit: str) -> float:
    """Where a statistic stands on the axis of its unit: a factor itself, points as such."""
    if unit in ("factor", "doublings"):
        base = 10.0 if unit == "factor" else 2.0
        return float(base ** min(max(value, -300), 300))
    return 100 * value if unit == "points" else value
