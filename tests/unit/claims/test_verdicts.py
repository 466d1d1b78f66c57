"""What makes a verdict, each case by hand: a tie, saturation, a refutation, a null that passes, many parts at once."""

import numpy as np
import pandas as pd
import pytest

from mcoherence.claims.measured import SATURATED, Exact, Measured, difference_of_accuracies
from mcoherence.claims.nulls import Null, redrawn, unknown
from mcoherence.claims.power import detectable
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.verdicts import corrected, holm, part_of

SETTINGS = ClaimSettings(confidence=0.95, first_step=8, target_accuracy=0.9, methods={})


EQUALS = Null((0.0, 0.0), "equals")


def judged(values, null=EQUALS, **known):
    """Verdict and reason of a part with these values."""
    part = part_of("here", Measured(pd.Series(values), null, **known), 0.95)
    return part.verdict, part.reason


@pytest.mark.parametrize(
    ("values", "known", "expected"),
    [
        ((0.01, 0.012, 0.011), {"margin": 0.02}, ("inconclusive", "equivalent within the margin")),
        ((-0.01, -0.012, -0.011), {"margin": 0.02}, ("inconclusive", "equivalent within the margin")),
        ((0.0, 0.0, 0.0), {}, ("inconclusive", "equivalent within the margin")),
        ((-0.019, -0.021, -0.023), {"margin": 0.02}, ("inconclusive", "below 0, but not beyond the margin")),
        (
            (-0.05, -0.051, -0.052),
            {"margin": 0.02},
            ("not supported", "both intervals are below -0.02, the margin, the mean below its null"),
        ),
        ((-0.05, -0.051, -0.052), {}, ("not supported", "both intervals are below 0, the mean below its null")),
        ((0.05, 0.051, 0.052), {"margin": 0.02}, ("supported", "both intervals are above 0, the mean above its null")),
        ((1.0, 2.0, 4.0), {}, ("inconclusive", "an interval holds 0")),
        ((-0.05, -0.051, -0.052), {"open_because": SATURATED}, ("inconclusive", "saturated")),
        ((1.0, np.nan, 1.0), {}, ("inconclusive", "2 of 3 seeds have a number")),
        (
            (1.0, np.nan, 1.0),
            {"missing_because": "the others never rose"},
            ("inconclusive", "2 of 3 seeds have a number: the others never rose"),
        ),
        ((1.0,), {}, ("inconclusive", "fewer than two seeds")),
    ],
)
def test_a_part_says_why(values, known, expected):
    assert judged(values, **known) == expected


@pytest.mark.parametrize(
    ("null", "expected"),
    [
        (Null((-0.1, 0.5), ""), ("supported", "both intervals are above 0, the mean above its null")),
        (Null((-0.1, 1.2), ""), ("inconclusive", "not above its null")),
        (Null((0.1, 0.5), ""), ("inconclusive", "its null is above 0 as well")),
        (unknown("runs with c = 0"), ("inconclusive", "its null is not known: needs runs with c = 0")),
    ],
)
def test_support_wants_a_mean_above_a_null_that_does_not_pass_itself(null, expected):
    assert judged((1.0, 1.1, 1.2), null=null) == expected


@pytest.mark.parametrize(
    ("null", "expected"),
    [
        (EQUALS, ("not supported", "both intervals are below 0, the mean below its null")),
        (Null((-1.0, 1.0), ""), ("not supported", "both intervals are below 0, the mean below its null")),
        (Null((-1.15, 1.15), ""), ("inconclusive", "below 0, but not below its null")),
        (Null((-1.05, -0.95), "", -1.0), ("inconclusive", "below 0, but not below its null")),  # an interval holds -1
        (Null((0.1, 0.5), "", 0.3), ("not supported", "both intervals are below 0, the mean below its null")),
        (unknown("a c"), ("inconclusive", "below 0, but its null is not known: needs a c")),
    ],
)
def test_a_refutation_wants_a_mean_below_what_nothing_to_find_gives(null, expected):
    assert judged((-1.05, -1.1, -1.18), null=null) == expected


@pytest.mark.parametrize("null", [Null((-2.0, -1.0), "", -1.5), unknown("more")])
def test_below_a_level_that_it_states_a_claim_is_wrong_whatever_nothing_to_find_gives(null):
    expected = ("not supported", "both intervals are below 0, the level that the claim states")
    assert judged((-1.0, -1.1, -1.2), null=null, states_level=True) == expected
    assert judged((1.0, -1.1, -1.2), null=null, states_level=True)[0] == "inconclusive"


def test_the_p_value_agrees_with_the_verdict():
    """400 parts with nulls of any place and width, margins and resolutions: refuted where it is at most 0.025."""
    draw = np.random.default_rng(0)
    refuted = 0
    for _ in range(400):
        expected, half = draw.choice([0.0, -0.5]), draw.uniform(0, 1)
        values = pd.Series(draw.normal(-1, 0.5, size=5))
        null = Null((expected - half, expected + half), "", expected)
        coarse = {"margin": draw.choice([0.0, 0.3]), "resolution": draw.choice([0.0, 0.2])}
        part = part_of("here", Measured(values, null, **coarse, states_level=draw.random() < 0.2), 0.95)
        assert (part.verdict == "not supported") == (part.refutation_p <= 0.025)
        refuted += part.verdict == "not supported"
    assert 40 < refuted < 360


@pytest.mark.parametrize("expected", [0.0, -0.5])
def test_what_nothing_to_find_gives_is_rarely_refuted_or_supported(expected):
    """400 studies of five seeds about what the null expects, which is known from five seeds too: 2.5% each at most."""
    draw = np.random.default_rng(1)
    found = []
    for _ in range(400):
        null = redrawn(pd.Series(draw.normal(expected, 1, size=5)), 0.95, "nothing")
        found.append(part_of("here", Measured(pd.Series(draw.normal(expected, 1, size=5)), null), 0.95).verdict)
    for verdict in ("supported", "not supported"):
        assert found.count(verdict) <= 0.03 * len(found)


def test_a_null_is_as_coarse_as_the_checkpoints():
    """All seeds agree on a checkpoint, so that their own differences are 0: what is known of it is the spacing."""
    part = part_of("here", Measured(pd.Series([1.0, 1.0]), Null((0.0, 0.0), "equal seeds"), 0.3), 0.95)
    assert part.null == Null((-0.3, 0.3), "equal seeds; widened by the spacing of checkpoints")


def test_two_methods_that_fit_everything_are_saturated():
    everything = pd.Series([1.0, 1.0, 1.0])
    part = part_of("here", difference_of_accuracies(everything, everything, SETTINGS), 0.95)
    assert (part.value, part.verdict, part.reason) == (0.0, "inconclusive", "saturated")
    nothing = pd.Series([0.0, 0.0])
    assert difference_of_accuracies(nothing, nothing, SETTINGS).open_because == SATURATED
    assert not difference_of_accuracies(everything, pd.Series([1.0, 1.0, 0.99]), SETTINGS).open_because
    assert not difference_of_accuracies(everything, pd.Series([0.0, 0.0, 0.0]), SETTINGS).open_because


def test_an_exact_number_has_rounding_for_its_null():
    part = part_of("here", Exact(0.5, 1e-9), 0.95)
    assert (part.null.interval, part.verdict, part.detectable) == ((-1e-9, 1e-9), "supported", None)
    assert part_of("here", Exact(-0.5, 1e-9), 0.95).verdict == "not supported"


def test_holm_by_hand():
    # sorted: 4 x 0.005, 3 x 0.01, 2 x 0.03, 1 x 0.04 which may not be below the 0.06 before it
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.7, 0.6])) == pytest.approx([1.0, 1.0])
    assert holm(np.array([])).tolist() == []


def parts_of(number, refuted):
    """`refuted` and other parts, `number` in all, that hold 0 in the middle."""
    others = [Measured(pd.Series([-1.0, 0.0, 1.0]), EQUALS) for _ in range(number - 1)]
    alone = [part_of(str(index), one, 0.95) for index, one in enumerate([refuted, *others])]
    return corrected(alone, 0.95)


def test_a_part_that_is_refuted_by_itself_may_not_be_as_one_of_many():
    # mean -1, s = 0.3, n = 3: t = -5.7735 with 2 degrees of freedom, whose lower tail is (1 + t / sqrt(2 + t^2)) / 2
    weak = Measured(pd.Series([-0.7, -1.0, -1.3]), EQUALS)
    t = -1 / (0.3 / np.sqrt(3))
    p = (1 + t / np.sqrt(2 + t**2)) / 2
    assert p == pytest.approx(0.0144, abs=1e-4)
    assert [part.verdict for part in parts_of(1, weak)] == ["not supported"]
    refuted, *others = parts_of(2, weak)
    assert (refuted.verdict, refuted.reason) == ("inconclusive", "refuted alone, not as one of 2 (Holm)")
    assert refuted.refutation_p == pytest.approx(2 * p)  # above 0.025
    assert [part.refutation_p for part in others] == [1.0]  # 0 is what its null gives, which has no spread
    assert parts_of(20, Measured(pd.Series([-0.99, -1.0, -1.01]), EQUALS))[0].verdict == "not supported"


def test_the_margin_counts_in_the_p_value():
    # -1.5 with the margin 0.5 is as far off as -1 without
    p = [
        part_of("here", Measured(pd.Series(values), EQUALS, margin=margin), 0.95).refutation_p
        for values, margin in (((-0.7, -1.0, -1.3), 0.0), ((-1.2, -1.5, -1.8), 0.5))
    ]
    assert p[0] == pytest.approx(p[1])


@pytest.mark.parametrize("n", [3, 5, 20])
def test_the_detectable_effect_is_found_in_four_of_five_studies(n):
    """60,000 studies of n normal values with that mean; Student's interval by t quantiles from tables."""
    quantile = {3: 4.302653, 5: 2.776445, 20: 2.093024}[n]
    shape = np.random.default_rng(0).normal(size=n)
    effect = detectable(shape / shape.std(ddof=1), 0.95)
    studies = np.random.default_rng(1).normal(effect, 1, size=(60_000, n))
    low = studies.mean(axis=1) - quantile * studies.std(axis=1, ddof=1) / np.sqrt(n)
    assert (low > 0).mean() == pytest.approx(0.8, abs=0.006)


def test_the_detectable_effect_is_in_the_unit_of_the_values_and_as_coarse_as_they_are():
    values = pd.Series([1.0, 2.0, 4.0])
    one, ten = (part_of("here", Measured(scale * values, EQUALS, 0.5), 0.95).detectable for scale in (1, 10))
    assert ten - 0.5 == pytest.approx(10 * (one - 0.5))
