"""Claims in words: counts, units and what was found, of claims written out by hand."""

import pytest

from mcoherence.front_page.wording import caution_of, counted, finding, headline_of, in_unit, is_tie, range_in_unit

HOLDS_0 = "an interval holds 0"


def part(where, verdict, value=0.3, reason=HOLDS_0, unit="factor", half=0.1, **further):
    interval = None if value is None else (value - half, value + half)
    fixed = {"values_by_seed": {"0": value}, "states_level": False}
    return {"where": where, "verdict": verdict, "value": value, "t_interval": interval, "reason": reason,
            "unit": unit, **fixed, **further}  # fmt: skip


def claim(verdict, *parts, decisive=None):
    return {"verdict": verdict, "missing": None, "parts": parts, "where": (decisive or parts[-1])["where"]}


OPEN, PARTLY = (
    claim("inconclusive", part("a", "inconclusive")),
    claim("inconclusive", part("a", "supported"), part("b", "inconclusive")),
)
HOLDS, FAILS = claim("supported", part("a", "supported")), claim("not supported", part("a", "not supported"))


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        (
            [{"verdict": "not tested", "parts": []}],
            "This study tests no claim of the papers; what it measured is below.",
        ),
        ([HOLDS], "Of 1 claim tested, 1 holds wherever looked."),
        (
            [HOLDS, HOLDS, HOLDS, PARTLY, PARTLY, OPEN, OPEN, FAILS, FAILS, {"verdict": "reported", "parts": []}],
            "Of 9 claims tested, 3 hold wherever looked, 2 hold in part and are undecided elsewhere, "
            "2 are undecided everywhere, 2 fail somewhere.",
        ),
        ([PARTLY, FAILS], "Of 2 claims tested, 1 holds in part and is undecided elsewhere, 1 fails somewhere."),
    ],
)
def test_the_headline_counts_where_claims_hold(claims, sentence):
    assert headline_of(claims) == sentence


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.363, "factor", "2.3 times"),  # 10^0.363 = 2.307
        (-2, "factor", "0.01 times"),
        (2.5, "factor", "316 times"),
        (1.999, "factor", "100 times"),  # 99.8
        (3.5, "factor", "3,162 times"),
        (-8, "factor", "less than 0.001 times"),
        (400, "factor", "more than 1,000,000 times"),
        (0.0195, "factor", "1.05 times"),  # near 1, to three digits
        (0.0001, "factor", "1.0002 times"),  # not 1
        (0, "factor", "1 times"),
        (1, "doublings", "2 times"),
        (-0.039, "points", "-3.9 points"),
        (-0.0001, "points", "0.0 points"),
        (-0.016, "number", "-0.016"),
        (99.6, "number", "+100"),
        (1234.5, "number", "+1,234"),
        (-1e-7, "number", "nearly 0"),
        (0, "number", "0"),
    ],
)
def test_a_value_is_said_in_the_unit_of_a_person(value, unit, text):
    assert in_unit(value, unit) == text


def test_an_interval_names_its_unit_once():
    assert range_in_unit((0, 0.301), "factor") == "1 to 2 times"
    assert range_in_unit((-0.25, 0.0195), "factor") == "0.56 to 1.05 times"
    assert range_in_unit((-8, 0.301), "factor") == "less than 0.001 to 2 times"
    assert range_in_unit((-9, -8), "factor") == "less than 0.001 times"
    assert range_in_unit((0, 1), "doublings") == "1 to 2 times"
    assert range_in_unit((-0.1, 0.2), "points") == "-10.0 to +20.0 points"


def test_a_claim_that_holds_names_where_it_is_least_certain():
    found = finding(claim("supported", part("a", "supported"), part("b", "supported", 0.301)))
    assert found == "Holds in both places, least certain in b: 2 times (1.6 to 2.5 times)."


def test_an_exact_number_has_no_interval():
    found = finding(claim("supported", part("a", "supported", 0.48, unit="number", values_by_seed={})))
    assert found == "Holds in the one place looked at, a: +0.48."


def test_a_claim_that_fails_says_in_how_many_places_and_in_which():
    failing = part("b", "not supported", -0.1, unit="points")
    one = claim("not supported", part("a", "supported"), part("c", "inconclusive"), failing)
    assert finding(one) == (
        "Fails in 1 of 3 places, holds in 1, undecided in 1. It fails for b: -10.0 points (-20.0 to 0.0 points)."
    )
    assert counted(one) == "fails in 1, holds in 1 of 3"


def test_what_is_undecided_names_the_place_and_says_why_once():
    places = [part(f"d, mlp, {name}", "supported") for name in ("fast", "slow")]
    one = claim("inconclusive", *places, part("d, cnn, slow", "inconclusive", -0.131, half=0.25))
    assert finding(one) == (
        "Holds for 2 of 3 places; undecided for d, cnn, slow: 0.74 times (0.42 to 1.3 times), "
        "the interval includes 1 (no difference)."
    )
    more = part("d, cnn, slow, at equal loss", "inconclusive", 0.05)
    grouped = finding(claim("inconclusive", *places, more, one["parts"][-1]))
    assert grouped.startswith(
        "Holds for 2 of 4 places; undecided for the 2 places of cnn, slow, least certain in d, cnn"
    )
    assert grouped.count("the interval includes 1") == 1


def test_a_place_without_a_number_says_why():
    found = finding(claim("inconclusive", part("a", "supported"), part("b", "inconclusive", None, "1 of 5 seeds")))
    assert found == "Holds for 1 of 2 places; undecided for b, 1 of 5 seeds."


def test_what_nothing_to_find_gives_too_is_said_so():
    above, not_above = "its null is above 0 as well", "not above its null"
    above, not_above = "its null is above 0 as well", "not above its null"
    parts = [
        part(name, "inconclusive", 0.5, why, "points") for name, why in (("a", above), ("b", not_above), ("c", above))
    ]
    assert finding(claim("inconclusive", *parts)) == (
        "Undecided in all 3 places, least certain in c: +50.0 points (+40.0 to +60.0 points); "
        "no larger than where there is no effect."
    )


def test_a_tie_says_that_it_is_one():
    tie = part("a", "inconclusive", 0.0, "equivalent within the margin", "points")
    assert is_tie(tie)
    assert finding(claim("inconclusive", tie)) == (
        "A tie in the one place looked at, a: 0.0 points (-10.0 to +10.0 points)."
    )
    assert not is_tie(part("a", "inconclusive"))


def test_reported_and_untested_claims_get_no_verdict_in_words():
    assert finding(claim("reported", part("a", "reported", 0.5, unit="number"))) == (
        "Measured without a verdict, least certain in a: +0.5 (+0.4 to +0.6)."
    )
    untested = {"verdict": "not tested", "missing": "needs runs", "parts": [], "where": None}
    assert finding(untested) == "Not tested: it needs runs."


def rested(seeds, verdict="supported", value=0.3):
    return {"verdict": verdict, "num_seeds": seeds, "value": value}


def test_a_caution_goes_by_the_fewest_seeds_that_a_drawn_claim_rests_on():
    """Quantiles of Student's t at 97.5%: 12.706 of one degree of freedom, 4.303 of two; at 95%, 6.314 of one."""
    assert "two seeds a line reaches 12.7 " in caution_of([rested(2), rested(5)], 0.95)
    assert "two seeds a line reaches 6.3 " in caution_of([rested(2)], 0.90)
    assert "three seeds a line reaches 4.3 " in caution_of([rested(3), rested(10)], 0.95)


@pytest.mark.parametrize(
    "claims", [[], [rested(4)], [rested(2, "not tested")], [rested(2, value=None)], [rested(1), rested(5)]]
)
def test_there_is_none_where_no_interval_is_of_few(claims):
    assert caution_of(claims, 0.95) == ""
