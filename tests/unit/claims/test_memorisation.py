"""Memorisation at equal fit on curves written out by hand: what a run has made of corrupt examples where, and E12."""

from dataclasses import replace

import pandas as pd
import pytest

from mcoherence.claims.memorisation import fewer_corrupt_at_equal_fit
from mcoherence.claims.registry import claims_of
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.testing import check_claims
from mcoherence.claims.verdicts import part_of
from mcoherence.tables.equal_fit import at_levels

METHODS = {"sgd": "sgd", "m3": "m3", "ra3": "ra3", "c8": "winsorized"}
SETTINGS = ClaimSettings(
    confidence=0.95, first_step=8, target_accuracy=0.9, methods=METHODS, suppressing=["m3", "c8"],
    experiments={"equal_fit": "label_noise"},
)  # fmt: skip
(E12,) = (one for one in claims_of("mcoherence.claims") if one.id == "E12")
SEEDS = (0, 1, 2)
LEVELS = [0.8, 0.9, 0.95, 0.99]
# pristine and corrupt accuracy at steps 0, 10, 20, 40; at pristine 0.95, half-way from 0.9 to 1, corrupt is 0.5 and 0.2
SGD = ((0.1, 0.5, 0.9, 1.0), (0.1, 0.2, 0.4, 0.6))
M3 = ((0.1, 0.5, 0.9, 1.0), (0.1, 0.1, 0.1, 0.3))
NEVER = ((0.1, 0.3, 0.6, 0.9), (0.1, 0.1, 0.1, 0.1))


def accuracy_of(curves, wobble=0.01):
    """{entry: (pristine, corrupt)} at steps 0, 10, 20, 40; corrupt and test differ by seed, with a mean as written."""
    return pd.DataFrame(
        [
            {"dataset": "d", "model": "net", "labels": "half", "noise": 0.5, "optimizer": name, "subset": "full"}
            | {"seed": seed, "step": step, "epoch": step / 10, "part": part, "accuracy": value, "diverged": False}
            for name, (pristine, corrupt) in curves.items()
            for seed in SEEDS
            for step, good, bad in zip((0, 10, 20, 40), pristine, corrupt, strict=True)
            for part, value in {
                "train": (good + bad) / 2, "pristine": good, "corrupt": bad + wobble * (seed - 1), "test": good - 0.1,
            }.items()
        ]
    )  # fmt: skip


def parts_of(curves):
    return fewer_corrupt_at_equal_fit({"equal_fit": at_levels(accuracy_of(curves), LEVELS)}, SETTINGS)


def claim_on(curves, settings=SETTINGS):
    (claim,) = check_claims({"equal_fit": at_levels(accuracy_of(curves), LEVELS)}, settings, [E12])
    return claim


def test_corrupt_accuracies_are_compared_where_the_pristine_ones_first_reach_the_level():
    parts = parts_of({"sgd": SGD, "m3": M3})
    where = "d, net, m3 against sgd, half, noise 0.5, at {}"
    expected = {
        0.95: (0.4 + 0.6) / 2 - (0.1 + 0.3) / 2,
        0.8: (0.2 + 0.75 * 0.2) - 0.1,  # three quarters of the way from 0.5 to 0.9
        0.9: 0.4 - 0.1,
        0.99: (0.4 + 0.9 * 0.2) - (0.1 + 0.9 * 0.2),
    }
    assert {place: part.per_seed.tolist() for place, part in parts.items()} == {
        where.format(level): pytest.approx([difference] * 3) for level, difference in expected.items()
    }
    assert [place for place, part in parts.items() if part.decides] == [where.format(0.95)]


def test_a_method_that_fits_fewer_supports_and_one_that_fits_more_refutes():
    assert claim_on({"sgd": SGD, "m3": M3}).verdict == "supported"
    assert claim_on({"sgd": M3, "m3": SGD}).verdict == "not supported"
    assert claim_on({"sgd": SGD, "m3": SGD}).verdict == "inconclusive"
    assert claim_on({"sgd": SGD, "m3": SGD}).decisive.reason == "equivalent within the margin"


def test_a_slower_run_with_the_same_curve_is_as_good():
    """Delay is no prevention: the same accuracies, each reached a checkpoint later."""
    late = tuple((values[0], *values[:3]) for values in ((0.1, 0.5, 1.0, 1.0), (0.1, 0.2, 0.5, 0.6)))
    parts = parts_of({"sgd": ((0.1, 0.5, 1.0, 1.0), (0.1, 0.2, 0.5, 0.6)), "m3": late})
    assert all(part.per_seed.tolist() == pytest.approx([0, 0, 0]) for part in parts.values())


def test_controls_and_other_levels_are_reported_and_decide_nothing():
    claim = claim_on({"sgd": M3, "m3": ((0.1, 0.5, 0.9, 1.0), (0.0, 0.0, 0.0, 0.0)), "ra3": SGD})
    assert claim.verdict == "supported"
    assert claim.decisive.where == "d, net, m3 against sgd, half, noise 0.5, at 0.95"
    assert {part.verdict for part in claim.parts if "ra3" in part.where} == {"reported"}
    assert {part.verdict for part in claim.parts if "m3 against" in part.where and "0.95" not in part.where} == {
        "reported"
    }


def test_a_method_that_never_comes_so_far_is_not_compared_and_said_so():
    claim = claim_on({"sgd": SGD, "m3": M3, "c8": NEVER})
    assert claim.verdict == "supported"
    (part,) = (part for part in claim.parts if part.where == "d, net, c8 against sgd, half, noise 0.5, at 0.95")
    assert (part.verdict, part.value) == ("reported", None)
    assert part.note == "no run of c8 fits 0.95 of the pristine examples: not compared"
    # Where it does come, it is: 0.1 against 0.35 for SGD.
    (part,) = (part for part in claim.parts if part.where == "d, net, c8 against sgd, half, noise 0.5, at 0.8")
    assert part.value == pytest.approx(0.25)


def test_where_no_method_comes_so_far_the_statement_is_open():
    claim = claim_on({"sgd": SGD, "c8": NEVER})
    assert (claim.verdict, claim.decisive.reason) == ("inconclusive", "0 of 3 seeds have a number")


def test_one_seed_that_never_comes_so_far_leaves_the_part_open():
    accuracy = accuracy_of({"sgd": SGD, "m3": M3})
    stuck = (accuracy["optimizer"] == "m3") & (accuracy["seed"] == 1) & (accuracy["part"] == "pristine")
    accuracy.loc[stuck, "accuracy"] = accuracy.loc[stuck, "accuracy"].clip(upper=0.92)
    (claim,) = check_claims({"equal_fit": at_levels(accuracy, LEVELS)}, SETTINGS, [E12])
    assert (claim.verdict, claim.decisive.reason) == ("inconclusive", "2 of 3 seeds have a number")


def test_accuracies_that_are_all_at_the_floor_are_saturated():
    parts = {"sgd": ((0.1, 0.5, 0.9, 1.0), (0.0,) * 4), "m3": ((0.1, 0.5, 0.9, 1.0), (0.0,) * 4)}
    found = fewer_corrupt_at_equal_fit({"equal_fit": at_levels(accuracy_of(parts, wobble=0), LEVELS)}, SETTINGS)
    (deciding,) = (part for part in found.values() if part.decides)
    assert part_of("here", deciding, 0.95).reason == "saturated"


def test_the_level_is_a_setting():
    (part,) = (part for part in claim_on({"sgd": SGD, "m3": M3}).parts if part.where.endswith("at 0.9"))
    assert part.verdict == "reported"
    lower = replace(SETTINGS, equal_fit=0.9)
    claim = claim_on({"sgd": SGD, "m3": M3}, lower)
    assert [part.where[-3:] for part in claim.parts if part.verdict != "reported"] == ["0.9"]


def test_the_other_levels_are_a_setting():
    claim = claim_on({"sgd": SGD, "m3": M3}, replace(SETTINGS, other_fits=[0.99]))
    assert {part.where.rpartition(" ")[2]: part.verdict for part in claim.parts} == {
        "0.95": "supported", "0.99": "reported",
    }  # fmt: skip


def test_it_is_no_papers_and_has_a_level_of_its_own():
    assert (E12.level, E12.source[:13]) == ("own", "this project;")


def test_a_study_without_another_method_or_without_partial_noise_does_not_speak_to_it():
    assert claim_on({"sgd": SGD}).missing.startswith("needs runs of SGD, and of another method")
    clean = accuracy_of({"sgd": SGD, "m3": M3}).assign(noise=0.0)
    (claim,) = check_claims({"equal_fit": at_levels(clean, LEVELS)}, SETTINGS, [E12])
    assert claim.verdict == "not tested"


def test_only_sgd_at_the_rate_of_a_method_decides_where_the_study_has_two():
    curves = {"sgd": SGD, "slow": NEVER, "m3": M3}
    rates = {"sgd": {"net": 0.3}, "slow": {"net": 0.1}, "m3": {"net": 0.3}}
    two = replace(SETTINGS, methods={**METHODS, "slow": "sgd"}, rates=rates)
    tables = {"equal_fit": at_levels(accuracy_of(curves), LEVELS)}
    at_level = {where: part for where, part in fewer_corrupt_at_equal_fit(tables, two).items() if "at 0.95" in where}
    assert {where.split(", ")[2]: part.decides for where, part in at_level.items()} == {
        "m3 against sgd": True, "m3 against slow": False,
    }  # fmt: skip
