"""Claims in words: counts, units and what was found, of claims written out by hand."""

import pytest

from mcoherence.front_page.wording import finding, headline_of, in_unit, is_tie, range_in_unit


def part(where, verdict, value=0.3, reason="an interval holds 0", unit="factor"):
    interval = None if value is None else (value - 0.1, value + 0.1)
    return {"where": where, "verdict": verdict, "value": value, "t_interval": interval, "reason": reason, "unit": unit}


def claim(verdict, *parts, decisive=None):
    return {"verdict": verdict, "missing": None, "parts": parts, "where": (decisive or parts[-1])["where"]}


@pytest.mark.parametrize(
    ("verdicts", "sentence"),
    [
        (["not tested", "reported"], "This study tests no claim of the papers; what it measured is below."),
        (["supported"], "1 of 1 tested claim holds on this data."),
        (["supported", "supported", "not supported"], "2 of 3 tested claims hold on this data, 1 does not."),
        (
            ["inconclusive", "not supported", "reported"],
            "0 of 2 tested claims hold on this data, 1 does not, 1 is open.",
        ),
    ],
)
def test_the_headline_counts_what_was_tested(verdicts, sentence):
    assert headline_of([{"verdict": verdict} for verdict in verdicts]) == sentence


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.363, "factor", "2.3 times"),  # 10^0.363 = 2.307
        (-2, "factor", "0.01 times"),
        (2.5, "factor", "316 times"),
        (1, "doublings", "2 times"),
        (-0.039, "points", "-3.9 points"),
        (-0.016, "number", "-0.016"),
    ],
)
def test_a_value_is_said_in_the_unit_of_a_person(value, unit, text):
    assert in_unit(value, unit) == text


def test_an_interval_names_its_unit_once():
    assert range_in_unit((0, 0.301), "factor") == "1 to 2 times"
    assert range_in_unit((0, 1), "doublings") == "1 to 2 times"
    assert range_in_unit((-0.1, 0.2), "points") == "-10.0 to +20.0 points"


def test_a_claim_that_holds_names_its_weakest_place():
    found = finding(claim("supported", part("a", "supported"), part("b", "supported", 0.301)))
    assert found == "Holds in all 2 places. The weakest: b, 2 times (1.6 to 2.5 times)."


def test_a_claim_that_fails_says_in_how_many_places():
    found = finding(claim("not supported", part("a", "supported"), part("b", "not supported", -0.1, unit="points")))
    assert found == "Fails in 1 of 2 places. The clearest: b, -10.0 points (-20.0 to +0.0 points)."


def test_what_decides_nothing_says_why():
    found = finding(claim("inconclusive", part("a", "supported"), part("b", "inconclusive", None, "1 of 5 seeds")))
    assert found == "Open: holds in 1 of 2 places. Not decided by b, no number (1 of 5 seeds)."


def test_a_tie_says_that_it_is_one():
    tie = part("a", "inconclusive", 0.0, "equivalent within the margin", "points")
    assert is_tie(tie)
    assert finding(claim("inconclusive", tie)) == "A tie in one place. a, +0.0 points (-10.0 to +10.0 points)."
    assert not is_tie(part("a", "inconclusive"))


def test_reported_and_untested_claims_get_no_verdict_in_words():
    assert finding(claim("reported", part("a", "reported", 0.5, unit="number"))) == (
        "Measured without a verdict. a, +0.5 (+0.4 to +0.6)."
    )
    untested = {"verdict": "not tested", "missing": "needs runs", "parts": [], "where": None}
    assert finding(untested) == "Not tested: it needs runs."
