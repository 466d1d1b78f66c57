"""Claims on tables written out by hand: what supports them, what refutes them, what leaves them open."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from mcoherence.claims.measured import Measured
from mcoherence.claims.nulls import Null
from mcoherence.claims.registry import claims_of
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.testing import check_claims
from mcoherence.claims.verdicts import part_of

IDS = ("P1", "P2", "P3", "P8", "P9", "P13", "P15", "P18")
CLAIMS = [claim for claim in claims_of("mcoherence.claims") if claim.id in IDS]
LABEL_NOISE_TABLES = ("accuracy", "coherence", "learning_time")
SETTINGS = ClaimSettings(
    confidence=0.95,
    first_step=2,
    target_accuracy=0.9,
    methods={"sgd": "sgd", "rm3": "rm3"},
    experiments=dict.fromkeys(LABEL_NOISE_TABLES, "label_noise") | {"easy_hard": "easy_hard", "toy": "toy"},
    peak_window=0,  # curves as they are
)
EQUALS = Null((0.0, 0.0), "equals")
SEEDS = (0, 1, 2)
STEPS = (0, 2, 6, 20, 60)
LABELS = {"clean": 0.0, "half": 0.5, "random": 1.0}


def rows(**columns):
    """One row per seed; a value may be a function of the seed."""
    return [
        {"dataset": "d", "model": "net", "subset": "full", "seed": seed}
        | {key: value(seed) if callable(value) else value for key, value in columns.items()}
        for seed in SEEDS
    ]


def with_middles(values):
    """(step, value) at STEPS, and from step 2 on in the middle between two of them on a log axis, where both are."""
    found = [(float(STEPS[0]), values[0])]
    for (step, value), (later, other) in pairwise(zip(STEPS[1:], values[1:], strict=True)):
        found += [(float(step), value), (np.sqrt(step * later), (value + other) / 2)]
    return [*found, (float(STEPS[-1]), values[-1])]


def make_tables(curves, train, medians, final, easy_hard):
    """The four tables from a few numbers each; every seed differs a little.

    curves: {labels: m-coherence at STEPS}; train: {labels: SGD's training accuracy at STEPS};
    medians: {(labels, group): step}; final: {(optimizer, labels): (test, corrupt) accuracy at the last step};
    easy_hard: {(train subset, test subset): accuracy}.
    """
    wobble = {0: 1.0, 1: 1.01, 2: 0.99}
    coherence, accuracy, learning = [], [], []
    for name, values in curves.items():
        for step, log in with_middles(np.log(values)):
            for group, number in (("train", np.exp(log)), ("redrawn", 1.0)):
                coherence += rows(
                    labels=name, noise=LABELS[name], optimizer="sgd", step=step, epoch=step / 10, group=group,
                    layer="model", m_coherence=lambda seed, number=number: number * wobble[seed],
                )  # fmt: skip
    for (optimizer, name), (test, corrupt) in final.items():
        for step, value in with_middles(train[name]):
            parts = {"train": value, "pristine": value, "test": test, "corrupt": corrupt}
            for part, number in parts.items():
                accuracy += rows(
                    labels=name, noise=LABELS[name], optimizer=optimizer, step=step, part=part,
                    accuracy=lambda seed, number=number: 1.0 if number == 1 else number * wobble[seed],
                    loss=1 - number,
                )  # fmt: skip
    for (name, group), step in medians.items():
        learning += rows(
            labels=name, noise=LABELS[name], optimizer="sgd", group=group,
            median_step=lambda seed, step=step: step * wobble[seed],
        )  # fmt: skip
    cells = [
        {
            "dataset": "d",
            "model": "net",
            "seed": seed,
            "train_subset": a,
            "test_subset": b,
            "accuracy": value * wobble[seed],
        }
        for (a, b), value in easy_hard.items()
        for seed in SEEDS
    ]
    return {
        "coherence": pd.DataFrame(coherence),
        "accuracy": pd.DataFrame(accuracy),
        "learning_time": pd.DataFrame(learning),
        "easy_hard": pd.DataFrame(cells),
    }


AS_IN_THE_PAPERS = {
    "curves": {"clean": (300, 40, 20, 5, 1.0), "half": (300, 20, 10, 8, 1.0), "random": (300, 2, 3, 8, 1.1)},
    "train": {"clean": (0.1, 0.5, 0.95, 1, 1), "half": (0.1, 0.3, 0.6, 0.95, 1), "random": (0.1, 0.1, 0.2, 0.5, 1)},
    "medians": {
        ("clean", "all"): 2, ("random", "all"): 58, ("half", "pristine"): 2.2, ("half", "corrupt"): 50,
    },
    "final": {
        ("sgd", "clean"): (0.95, np.nan), ("sgd", "half"): (0.6, 0.98), ("sgd", "random"): (0.1, 0.98),
        ("rm3", "clean"): (0.97, np.nan), ("rm3", "half"): (0.8, 0.30), ("rm3", "random"): (0.2, 0.40),
    },
    "easy_hard": {
        ("easy", "easy"): 0.99, ("hard", "hard"): 0.90, ("random", "easy"): 0.95, ("random", "hard"): 0.94,
        ("easy", "hard"): 0.50, ("hard", "easy"): 0.50,
    },
}  # fmt: skip


def verdicts(**changes):
    return {
        claim.id: claim.verdict for claim in check_claims(make_tables(**AS_IN_THE_PAPERS | changes), SETTINGS, CLAIMS)
    }


def test_the_papers_world_supports_every_claim():
    supported = dict.fromkeys(("P1", "P2", "P3", "P8", "P9", "P13", "P15"), "supported")
    assert verdicts() == supported | {"P18": "not tested"}  # not of these tables


@pytest.mark.parametrize(
    ("claim", "changes"),
    [
        ("P1", {"curves": AS_IN_THE_PAPERS["curves"] | {"random": (300, 2, 3, 80, 1.1)}}),
        ("P2", {"curves": AS_IN_THE_PAPERS["curves"] | {"half": (300, 90, 60, 8, 1.0)}}),
        pytest.param(
            "P3",
            {"curves": AS_IN_THE_PAPERS["curves"] | {"random": (300, 0.9, 0.8, 0.7, 0.5)}},
            id="P3-no-rise",
        ),
        pytest.param(
            "P3",
            {"curves": AS_IN_THE_PAPERS["curves"] | {"clean": (300, 5, 20, 40, 1), "random": (300, 9, 3, 2, 1.1)}},
            id="P3-earlier",
        ),
        ("P8", {"train": AS_IN_THE_PAPERS["train"] | {"clean": (0.1, 0.1, 0.1, 0.2, 1)}}),
        ("P9", {"medians": AS_IN_THE_PAPERS["medians"] | {("half", "corrupt"): 0.5, ("half", "pristine"): 5}}),
        pytest.param(
            "P9",
            {"medians": AS_IN_THE_PAPERS["medians"] | {("half", "pristine"): 45, ("half", "corrupt"): 50}},
            id="P9-pristine-slow",
        ),
        ("P13", {"final": AS_IN_THE_PAPERS["final"] | {("rm3", "half"): (0.5, 0.30)}}),
        pytest.param("P13", {"final": AS_IN_THE_PAPERS["final"] | {("rm3", "half"): (0.8, 1.2)}}, id="P13-memorises"),
        ("P15", {"easy_hard": AS_IN_THE_PAPERS["easy_hard"] | {("easy", "easy"): 0.80}}),
    ],
)
def test_the_opposite_is_not_supported(claim, changes):
    assert verdicts(**changes)[claim] == "not supported"


def with_diverged(tables, **run):
    """The tables with the runs of these names marked as diverged at their last step."""
    for name in ("accuracy", "coherence"):
        table = tables[name].copy()
        chosen = (table["step"] == STEPS[-1]) & np.logical_and.reduce([table[key] == run[key] for key in run])
        table["diverged"] = chosen
        tables[name] = table
    return tables


def test_a_run_that_diverged_is_left_out_and_named():
    """One seed of RM3 with half random labels: P13 misses a partner of SGD's; what SGD alone shows stands."""
    tables = with_diverged(make_tables(**AS_IN_THE_PAPERS), optimizer="rm3", labels="half", seed=1)
    claims = {claim.id: claim for claim in check_claims(tables, SETTINGS, CLAIMS)}
    assert {claim.diverged for claim in claims.values()} == {("d, net, half, rm3, full, seed 1",)}
    assert claims["P13"].verdict == "inconclusive"
    assert claims["P1"].verdict == claims["P8"].verdict == "supported"


def test_a_table_without_rows_changes_no_claim():
    """As the bound's, where every optimiser has momentum; its columns have no type."""
    tables = make_tables(**AS_IN_THE_PAPERS)
    empty = {"bound": tables["accuracy"].head(0).assign(diverged=None).astype(object)}
    assert check_claims(tables | empty, SETTINGS, CLAIMS) == check_claims(tables, SETTINGS, CLAIMS)


def test_claims_survive_the_divergence_of_every_run_of_an_optimiser():
    tables = with_diverged(make_tables(**AS_IN_THE_PAPERS), optimizer="sgd")
    claims = {claim.id: claim for claim in check_claims(tables, SETTINGS, CLAIMS)}
    assert {claims[name].verdict for name in ("P1", "P2", "P3")} == {"not tested"}
    assert claims["P1"].missing.endswith("this study has no such runs left that did not diverge")
    assert claims["P13"].verdict == "inconclusive"  # RM3's runs are there, without partners
    tables = with_diverged(make_tables(**AS_IN_THE_PAPERS), optimizer="rm3", labels="half")
    claims = {claim.id: claim for claim in check_claims(tables, SETTINGS, CLAIMS)}
    assert claims["P13"].verdict == "inconclusive"  # at this level; supported at the others


def test_an_optimiser_is_compared_only_where_the_study_has_it():
    """RM3 at half random labels alone: the other levels do not leave P13 open."""
    final = {key: value for key, value in AS_IN_THE_PAPERS["final"].items() if key[0] == "sgd" or key[1] == "half"}
    tables = make_tables(**AS_IN_THE_PAPERS | {"final": final})
    (claim,) = (claim for claim in check_claims(tables, SETTINGS, CLAIMS) if claim.id == "P13")
    assert [part.where for part in claim.parts] == [
        "d, net, rm3 against sgd, noise 0.5, gap", "d, net, rm3 against sgd, noise 0.5, corrupt accuracy",
    ]  # fmt: skip
    assert claim.verdict == "supported"


def test_a_run_that_never_reaches_the_target_counts_with_its_last_step():
    never = AS_IN_THE_PAPERS["train"] | {"random": (0.1, 0.1, 0.2, 0.5, 0.6)}
    claims = {
        claim.id: claim for claim in check_claims(make_tables(**AS_IN_THE_PAPERS | {"train": never}), SETTINGS, CLAIMS)
    }
    part = next(part for part in claims["P8"].parts if part.where.endswith("noise 1 over 0.5"))
    # half random: 0.6 at step 6, 0.95 at step 20, so 0.9 at 6/7 of the way on a log axis
    reached = np.log10(6) + 6 / 7 * np.log10(20 / 6)
    assert part.value == pytest.approx(np.log10(60) - reached, abs=0.02)


def test_two_runs_that_never_reach_the_target_say_nothing_about_their_order():
    never = (0.1, 0.1, 0.2, 0.5, 0.6)
    train = AS_IN_THE_PAPERS["train"] | {"half": never, "random": never}
    tables = make_tables(**AS_IN_THE_PAPERS | {"train": train})
    (claim,) = (claim for claim in check_claims(tables, SETTINGS, CLAIMS) if claim.id == "P8")
    assert {part.where.split(", ")[-1]: part.verdict for part in claim.parts} == {
        "noise 0.5 over 0": "supported", "noise 1 over 0.5": "inconclusive",
    }  # fmt: skip


def test_values_are_the_stated_statistics():
    claims = {claim.id: claim for claim in check_claims(make_tables(**AS_IN_THE_PAPERS), SETTINGS, CLAIMS)}
    # past step 2 the peaks are 40 and 8; the wobble of a seed cancels in the ratio
    assert claims["P1"].decisive.value == pytest.approx(np.log10(40 / 8))
    late = next(part for part in claims["P3"].parts if part.where.endswith("later than with real labels"))
    assert late.value == pytest.approx(np.log10(20 / 2))
    assert late.interval == pytest.approx((1 - np.log10(20 / 6), 1 + np.log10(20 / 6)))  # twice the widest gap
    slower = next(part for part in claims["P8"].parts if part.where.endswith("noise 1 over 0.5"))
    # 0.9 is reached between checkpoints, and not known better than to the gap between them.
    low, high = slower.interval
    assert (high - low) / 2 == pytest.approx(np.log10(20 / 6) / 2, abs=0.02)
    gap = next(part for part in claims["P13"].parts if part.where.endswith("noise 0.5, gap"))
    # (1 - 0.6) - (1 - 0.8), times the mean wobble of 1
    assert gap.value == pytest.approx(0.2)


def test_a_claim_without_its_runs_is_not_tested_and_says_what_is_missing():
    tables = make_tables(**AS_IN_THE_PAPERS)
    clean_sgd = {
        name: tables[name].query("noise == 0 and optimizer == 'sgd'") for name in tables if name != "easy_hard"
    }
    settings = replace(SETTINGS, methods={"sgd": "sgd"})
    claims = {claim.id: claim for claim in check_claims(tables | clean_sgd, settings, CLAIMS)}
    found = "; this study has noise 0, optimisers sgd, networks net"
    assert {name: claim.missing for name, claim in claims.items()} == {
        "P1": f"needs runs of SGD with clean labels (noise 0) and with wholly random ones (noise 1){found}",
        "P2": f"needs runs of SGD at two noise levels, with checkpoints early in training past the transient{found}",
        "P3": f"needs runs of SGD with wholly random labels (noise 1) that fit all their examples{found}",
        "P8": f"needs runs of SGD at two noise levels{found}",
        "P9": f"needs runs of SGD with labels that are random in part (noise between 0 and 1){found}",
        "P13": f"needs runs of SGD, and of M3 or RM3, at the same noise levels{found}",
        "P15": None,
        "P18": "needs the experiment toy, which this study does not make",
    }
    for claim in claims.values():
        assert (claim.verdict == "not tested") == (claim.missing is not None) == (claim.decisive is None)


def test_a_study_without_any_table_tests_nothing_and_names_every_experiment():
    claims = check_claims({}, SETTINGS, CLAIMS)
    assert {claim.verdict for claim in claims} == {"not tested"}
    experiments = {claim.id: claim.missing.removeprefix("needs the experiment ").split(",")[0] for claim in claims}
    assert experiments == {
        **dict.fromkeys(("P1", "P2", "P3", "P8", "P9", "P13"), "label_noise"), "P15": "easy_hard", "P18": "toy",
    }  # fmt: skip


def check_toy(**changes):
    """P18 on a toy table of three steps; changes: {data: (test losses, m-coherences)}."""
    worlds = {"real": ((0.5, 0.1, 0.02), (2.5, 2.5, 2.5)), "random": ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))} | changes
    table = pd.DataFrame(
        [
            {"data": data, "trained_on": 4, "measured": measured, "step": step, "test_loss": loss, "m_coherence": value}
            for data, curves in worlds.items()
            for step, loss, coherence in zip((0, 9, 99), *curves, strict=True)
            for measured, value in ((4, coherence), (5, 0.0))
        ]
    )
    (claim,) = (claim for claim in check_claims({"toy": table}, SETTINGS, CLAIMS) if claim.id == "P18")
    return claim


def test_an_exact_claim_has_its_value_for_an_interval():
    claim = check_toy()
    assert claim.verdict == "supported"
    loss, coherence = claim.parts
    assert (loss.value, coherence.value) == (pytest.approx(0.48), 1.5)
    for part in claim.parts:
        low, high = part.interval
        assert part.values == {}  # no seeds
        assert 0 < high - low < 1e-12


@pytest.mark.parametrize(
    "changes",
    [
        {"real": ((0.5, 0.6, 0.7), (2.5, 2.5, 2.5))},
        {"random": ((0.5, 0.1, 0.01), (1.0, 1.0, 1.0))},
        {"real": ((0.5, 0.1, 0.02), (2.5, 0.9, 2.5))},
    ],
    ids=["real does not generalise", "random does", "real not coherent at one step"],
)
def test_the_opposite_of_the_exact_claim_is_not_supported(changes):
    assert check_toy(**changes).verdict == "not supported"


def test_an_exact_tie_within_rounding_decides_nothing():
    assert check_toy(random=((0.5, 0.1, 0.02), (1.0, 1.0, 1.0))).verdict == "inconclusive"


def test_a_part_has_the_interval_of_the_bootstrap_and_students():
    part = part_of("here", Measured(pd.Series([1.0, 2.0, 4.0], index=[0, 1, 2]), null=EQUALS), 0.95)
    # mean 7/3, standard error sqrt(7/3)/sqrt(3), t(0.975, 2) = 4.302653
    half = 4.302653 * np.sqrt(7 / 3) / np.sqrt(3)
    assert part.value == pytest.approx(7 / 3)
    assert part.interval == pytest.approx((1, 4))  # 1/27 of the resamples is 1, 1, 1
    assert part.t_interval == pytest.approx((7 / 3 - half, 7 / 3 + half), rel=1e-6)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((1.0, 2.0, 4.0), "inconclusive"),  # the bootstrap's interval is positive, Student's is not
        ((1.0, 1.1, 1.2), "supported"),
        ((-1.0, -2.0, -4.0), "inconclusive"),
        ((-1.0, -1.1, -1.2), "not supported"),
        ((0.0, 0.0, 0.0), "inconclusive"),  # a tie refutes nothing,
    ],
)
def test_a_verdict_wants_both_intervals_on_one_side(values, verdict):
    assert part_of("here", Measured(pd.Series(values), null=EQUALS), 0.95).verdict == verdict


def test_a_claim_that_is_not_asserted_is_reported_with_its_intervals():
    descriptions = [replace(one, level="III") for one in CLAIMS if one.id == "P1"]
    descriptions += [replace(one, asserted_from=224) for one in CLAIMS if one.id == "P8"]
    for side, verdict in ((28, "reported"), (224, "supported")):
        settings = replace(SETTINGS, image_sides={"d": side})
        claims = {one.id: one for one in check_claims(make_tables(**AS_IN_THE_PAPERS), settings, descriptions)}
        assert (claims["P1"].verdict, claims["P8"].verdict) == ("reported", verdict)
        assert claims["P1"].decisive.interval is not None
        assert (claims["P1"].level, claims["P8"].level) == ("III", "II")


@pytest.mark.parametrize("values", [[1.0], [1.0, np.nan], [np.inf, 1.0]])
def test_one_seed_or_a_missing_value_decides_nothing(values):
    part = part_of("here", Measured(pd.Series(values), null=EQUALS), 0.95)
    assert (part.value, part.interval, part.t_interval, part.verdict) == (None, None, None, "inconclusive")


def test_one_refuted_part_refutes_and_the_decisive_part_shows_it():
    changes = {"final": AS_IN_THE_PAPERS["final"] | {("rm3", "half"): (0.5, 0.30)}}
    claims = {claim.id: claim for claim in check_claims(make_tables(**AS_IN_THE_PAPERS | changes), SETTINGS, CLAIMS)}
    assert claims["P13"].decisive.where.endswith("rm3 against sgd, noise 0.5, gap")
    assert claims["P13"].decisive.value == pytest.approx(-0.1)


def test_seeds_that_agree_only_to_the_checkpoint_do_not_make_an_interval_of_no_width():
    part = part_of("here", Measured(pd.Series([0.1, 0.1, 0.1]), null=EQUALS, resolution=0.2), 0.95)
    assert part.interval == pytest.approx((-0.1, 0.3))
    assert part.t_interval == pytest.approx((-0.1, 0.3))
    assert part.verdict == "inconclusive"


def nearness(**medians):
    """Values of P9 of seed 0 by what they say, with these medians of half random labels, no noise and all random."""
    groups = {
        "pristine": ("half", "pristine"), "corrupt": ("half", "corrupt"), "clean": ("clean", "all"),
        "random": ("random", "all"),
    }  # fmt: skip
    tables = make_tables(**AS_IN_THE_PAPERS | {"medians": {groups[name]: step for name, step in medians.items()}})
    (claim,) = (one for one in check_claims(tables, SETTINGS, CLAIMS) if one.id == "P9")
    return {part.where.rpartition(", ")[2]: part.values.get(0) for part in claim.parts}


def test_what_is_never_learned_is_near_to_nothing():
    """The last step, 60, is a bound of a time that is not reached: it orders, and says no distance."""
    log = np.log10
    assert nearness(pristine=4, corrupt=40, clean=2, random=50) == pytest.approx(
        {
            "corrupt after pristine": log(40 / 4),
            "pristine nearer to no noise": log(50 / 4) - log(4 / 2),
            "corrupt nearer to all random": log(40 / 2) - log(50 / 40),
        }
    )
    never = nearness(pristine=4, corrupt=np.inf, clean=2, random=np.inf)
    assert never["corrupt after pristine"] == pytest.approx(log(60 / 4))
    assert never["pristine nearer to no noise"] == pytest.approx(log(60 / 4) - log(4 / 2))
    assert never["corrupt nearer to all random"] is None
    assert nearness(pristine=np.inf, corrupt=np.inf, clean=2, random=50)["corrupt after pristine"] is None


def test_easy_examples_that_are_easy_for_any_network_support_nothing():
    def check(**cells):
        easy_hard = AS_IN_THE_PAPERS["easy_hard"] | {tuple(name.split("_on_")): value for name, value in cells.items()}
        tables = make_tables(**AS_IN_THE_PAPERS | {"easy_hard": easy_hard})
        return next(one for one in check_claims(tables, SETTINGS, CLAIMS) if one.id == "P15").parts[0]

    part = check()
    assert part.value == pytest.approx((0.99 - 0.90) - (0.95 - 0.94))
    assert part.note == (
        "easy on easy minus hard on hard +0.090; of networks trained on random examples, easy minus hard +0.010"
    )
    as_easy_for_any = check(random_on_easy=0.99, random_on_hard=0.90)
    assert (as_easy_for_any.value, as_easy_for_any.reason) == (pytest.approx(0), "equivalent within the margin")
