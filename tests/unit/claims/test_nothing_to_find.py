"""A study in which no claim has anything to find: no null passes by itself, nothing is supported and nothing refuted.

The tables are drawn here: curves, times and accuracies of a run do not depend on its labels, optimiser, width, tags, or
on what it is trained on, and vary between runs. What is positive by construction stays so: easy test examples are easy
for every network, the larger group of examples has the larger share of the gradient, a maximum is no less than the end.
"""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from mcoherence.claims import nulls
from mcoherence.claims.registry import claims_of
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.testing import check_claims
from mcoherence.tables.columns import OTHER_SEEDS
from mcoherence.tables.label_errors import SCORES

MODELS = ("alexnet", "resnet")
METHODS = {"sgd": "sgd", "m3": "m3", "rm3": "rm3", "ra3": "ra3", "c0": "winsorized", "c2": "winsorized"}
NOISE = {"clean": 0.0, "half": 0.5, "random": 1.0}
SEEDS = range(5)
STEPS = (0, 8, 16, 32, 64, 128)  # eight a epoch
SETTINGS = ClaimSettings(
    confidence=0.95, first_step=8, target_accuracy=0.9, methods=METHODS, robust=["m3", "rm3"],
    suppressing=["m3", "rm3", "c0", "c2"],
    architectures={"alexnet": "alexnet_small", "resnet": "resnet18"},
)  # fmt: skip
CLAIMS = [replace(one, level="II", asserted_from=0) for one in claims_of("mcoherence.claims")]


def runs(optimizers=("sgd",), labels=tuple(NOISE)):
    """The columns that name each run."""
    for model, name, optimizer, seed in product(MODELS, labels, optimizers, SEEDS):
        run = {"dataset": "d", "model": model, "labels": name, "noise": NOISE[name], "optimizer": optimizer}
        yield run | {"subset": "full", "seed": seed}


def times():
    return ({"step": step, "epoch": step / 8} for step in STEPS)


def accuracy(draw):
    rows = []
    for run in runs(METHODS):
        rise = np.array([0.1, 0.12, *np.sort(draw.uniform(0.25, 0.85, 2)), 0.97, 0.98])
        for part, curve in product(("train", "pristine", "corrupt", "test"), [rise]):
            values = (curve if part != "test" else np.full(6, 0.6)) + draw.normal(0, 0.01, 6)
            scores = ({"part": part, "accuracy": one, "loss": 2.3 * (1 - one)} for one in values)
            rows += [run | time | one for time, one in zip(times(), scores, strict=True)]
    return pd.DataFrame(rows)


def coherence(draw):
    """m-coherence scatters about 1 as that of redrawn labels does."""
    layers = {"model": "", "conv": "Conv2d", "output": "Linear"}
    return pd.DataFrame(
        [
            run | time | {"group": group, "layer": layer, "layer_type": kind, "n": 360}
            | {"m_coherence": draw.lognormal(0, 0.3), "pairwise_alignment": draw.normal(0, 0.01)}
            for run, time in product(runs(), times())
            for group, (layer, kind) in product(("train", "pristine", "corrupt", "heldout", "redrawn"), layers.items())
        ]
    )  # fmt: skip


def contributions(draw):
    """Seven of ten examples are pristine, so that they have 0.7 of the gradient in every world."""
    shares = ((run | time | {"world": world}, draw.normal(0.7, 0.05)) for run, time, world in product(
        runs(labels=["half"]), times(), ("measured", "null 1", "null 2")
    ))  # fmt: skip
    return pd.DataFrame([row | {"f_pristine": f, "f_corrupt": 1 - f, "sq_norm_of_sum": 1.0} for row, f in shares])


def overfit(draw):
    """Clipped or not, all labels are memorised by the end; at step 0 all is chance."""
    c = {"c0": 0.0, "c2": 2.0}
    rows = []
    for run, (step, train, test) in product(runs(METHODS), ((0, 0.1, 0.1), (128, 0.98, 0.6))):
        family = {"c": c.get(run["optimizer"], np.nan), "alike": 0 if run["optimizer"] in c else -1}
        more = {"train_accuracy": train + draw.normal(0, 0.01), "test_accuracy": test + draw.normal(0, 0.01)}
        more |= {"pristine_share": 1 - 0.9 * run["noise"], "overfit": draw.normal(0.4, 0.02)}
        rows.append(run | {"step": step} | family | more)
    return pd.DataFrame(rows)


def easy_hard(draw):
    """Any network is better on easy test examples, whatever it was trained on."""
    return pd.DataFrame(
        [
            {"dataset": "d", "model": model, "seed": seed, "train_subset": train, "test_subset": test}
            | {"accuracy": {"easy": 0.95, "hard": 0.75, "random": 0.85}[test] + draw.normal(0, 0.01)}
            for model, seed, train, test in product(MODELS, SEEDS, *2 * [("easy", "hard", "random")])
        ]
    )


def difficulty(draw):
    return pd.DataFrame(
        [
            run | {"changed": example < 20, "rank": draw.uniform(), "forgetting_events": draw.integers(0, 3)}
            | {"second_split_forgotten_at": draw.integers(0, 5)}
            for run, example in product(runs(labels=["half"]), range(60))
        ]
    )  # fmt: skip


def difficulty_coherence(draw):
    pairs = [("easy_train", "easy_train"), ("hard_train", "hard_train"), ("easy_test", "easy_train")]
    pairs += [("easy_train", "hard_test"), ("hard_test", "hard_train")]
    return pd.DataFrame(
        [
            run | time | {"subset": subset, "group": pair[0], "other": pair[1]}
            | {"m_coherence": draw.lognormal(0, 0.3), "cosine": draw.normal(0, 0.1)}
            for run, time in product(runs(labels=["clean"]), times())
            for subset, pair in product(("full", "easy", "hard"), pairs)
        ]
    )  # fmt: skip


def difficulty_agreement(draw):
    """Choices of 30 among 60 examples."""
    return pd.DataFrame(
        [
            run | {"other": OTHER_SEEDS, "n": 60, "chance": 0.5}
            | {"easy_overlap": draw.hypergeometric(30, 30, 30) / 30}
            for run in runs(labels=["clean"])
        ]
    )  # fmt: skip


def learning_time(draw):
    return pd.DataFrame(
        [
            run | {"group": group, "median_step": 10 ** draw.normal(1.2, 0.1)}
            for run, group in product(runs(), ("all", "pristine", "corrupt"))
        ]
    )


def toy(draw):
    """The same descent on both data sets."""
    return pd.DataFrame(
        [
            {"data": data, "trained_on": 4, "measured": 4, "step": step, "test_loss": 0.5, "m_coherence": 1.0}
            for data, step in product(("real", "random"), (0, 100))
        ]
    )


def sample_size(draw):
    return pd.DataFrame(
        [
            run | time | {"m": m, "own_sample": m == 360, "m_coherence": draw.lognormal(0, 0.3)}
            for run, time, m in product(runs(), times(), (360, 720))
        ]
    )


def sweep(draw):
    return pd.DataFrame(
        [
            run | time | {"setting": "width", "value": width, "smoothed_m_coherence": draw.lognormal(0, 0.3)}
            | {"past_transient": time["step"] >= 8, "train_accuracy": 0.5}
            for run, time, width in product(runs(), times(), (32, 64))
        ]
    )  # fmt: skip


def equal_fit(draw):
    """What is fitted of corrupt examples by the time that pristine ones are does not depend on the optimiser."""
    return pd.DataFrame(
        [
            run | {"pristine_accuracy": level, "corrupt_accuracy": draw.normal(level / 2, 0.05)}
            for run, level in product(runs(METHODS, ["half"]), (0.8, 0.9, 0.95, 0.99))
        ]
    )


def confusion(draw):
    """Cosines that no width, depth, batch norm or skip connection changes."""
    networks = product((16, 64), (2, 8), (False, True), (False, True))
    return pd.DataFrame(
        [
            run | time | dict(zip(("width", "depth", "normalised", "skip"), network, strict=True))
            | {"architecture": "deep_mlp", "min_cosine": draw.normal(0, 0.1)}
            for network in networks
            for run, time in product(runs(labels=["clean"]), times())
            if run["model"] == MODELS[0]
        ]
    )  # fmt: skip


def median_scale(draw):
    """Runs of one method that bear two names."""
    return pd.DataFrame(
        [
            run | {"method": run["optimizer"], "reference": run["optimizer"] == "sgd", "batch_size": size}
            | {"rate": 1.0, "tuning": False, "chosen": True, "per_class": size / 30, "diverged": False}
            | {"corrupt_at_fit": draw.normal(0.5, 0.05), "memorised_epoch": 10 ** draw.normal(1, 0.05)}
            | {"end_epoch": 60.0}
            for run, size in product(runs(("sgd", "m3"), ["half"]), (3, 30))
        ]
    )  # fmt: skip


def label_errors(draw):
    """No score finds wrong labels better than another, at the end or as a mean; all of them find some."""
    return pd.DataFrame(
        [
            run | {"ranked_by": score, "over": over, "auroc": draw.normal(0.8, 0.05)}
            for run, (score, over) in product(runs(labels=["half"]), SCORES)
        ]
    )


@pytest.fixture(scope="module")
def tables():
    """The tables of one study without anything to find."""
    return {
        make.__name__: make(np.random.default_rng(number))
        for number, make in enumerate(
            (
                accuracy, coherence, contributions, overfit, easy_hard, difficulty, difficulty_coherence,
                difficulty_agreement, learning_time, toy, sample_size, sweep, equal_fit, confusion, median_scale,
                label_errors,
            )
        )
    }  # fmt: skip


@pytest.fixture(scope="module")
def outcome(tables):
    """Claim by id, of the study."""
    return {claim.id: claim for claim in check_claims(tables, SETTINGS, CLAIMS)}


@pytest.mark.parametrize("id", [one.id for one in CLAIMS])
def test_no_null_passes_by_itself(outcome, id):
    assert outcome[id].missing is None  # else the tables above say nothing to it
    for part in outcome[id].parts:
        if part.null.interval is None:  # hardly a seed has a number, such as of a return where there was no rise
            assert len(part.values) < 2, (part.where, part.null.rule)
        else:
            assert part.null.interval[0] <= 0, part.where


@pytest.mark.parametrize("id", [one.id for one in CLAIMS])
def test_no_claim_is_supported_where_there_is_nothing_to_find(outcome, id):
    assert outcome[id].verdict != "supported"


# What these say of one condition is wrong here: that m-coherence starts near m, that networks do not memorise.
WRONG_HERE = {"P5": "from near m", "P11": "training accuracy below the proper one", "P16": "noise 0.5"}


def is_wrong_here(claim, part):
    return part.where.endswith(WRONG_HERE.get(claim.id, "no such part"))


# What a curve's height, and how late it is highest, do not show by themselves; where it ends is another matter.
OF_THE_LABELS = {"P1": "", "P2": "", "P3": ("rises beyond 3", "peak later than with real labels")}


def of_weights_alone(draw):
    """m-coherence that depends on what a network was trained on, and not on the labels that it is measured with."""
    table = coherence(draw)
    courses = {"clean": [1, 9, 30, 12, 3, 1], "half": [1, 4, 12, 14, 5, 1], "random": [1, 2, 3, 9, 14, 1]}
    course = [courses[name][STEPS.index(step)] for name, step in zip(table["labels"], table["step"], strict=True)]
    return table.assign(m_coherence=table["m_coherence"] * course)


@pytest.mark.parametrize("id", OF_THE_LABELS)
def test_a_course_that_is_the_same_with_labels_redrawn_supports_nothing_of_labels(tables, id):
    one = next(claim for claim in CLAIMS if claim.id == id)
    study = dict(tables, coherence=of_weights_alone(np.random.default_rng(1)))
    raw = dict(study, coherence=study["coherence"].query("group != 'redrawn'"))
    (found,), (without) = (check_claims(of, SETTINGS, [one]) for of in (study, raw))
    parts = [part for part in found.parts if part.where.endswith(OF_THE_LABELS[id])]
    assert parts
    assert not [part.where for part in parts if part.verdict != "inconclusive"]
    # Without labels redrawn the same courses are taken for what they look like.
    assert [part for part in without[0].parts if part.verdict == "supported" and part.where.endswith(OF_THE_LABELS[id])]


@pytest.mark.parametrize("id", [one.id for one in CLAIMS])
def test_nothing_is_refuted_by_there_being_nothing_to_find_but_what_is_wrong(outcome, id):
    claim = outcome[id]
    refuted = {part.where for part in claim.parts if part.verdict == "not supported"}
    assert refuted == {part.where for part in claim.parts if is_wrong_here(claim, part)}


def by_itself(part):
    """The verdict of the part by its numbers, before Holm's correction and whether it decides or not."""
    if part.reason.startswith(("both intervals are below", "refuted alone")):
        return "not supported"
    return "supported" if part.reason.startswith("both intervals are above") else "inconclusive"


def test_equal_methods_are_rarely_told_apart_in_either_direction(outcome):
    """Of the parts of nothing at most a few pass or fail by chance, 2.5% each with Student's interval alone."""
    found = [by_itself(part) for claim in outcome.values() for part in claim.parts if not is_wrong_here(claim, part)]
    assert len(found) > 180
    assert found.count("supported") <= 0.04 * len(found)
    assert found.count("not supported") <= 0.04 * len(found)


def with_other_label_sets(tables):
    """The tables with a further label set of each noise, whose runs are those of the first one with other seeds."""
    found = dict(tables)
    for name in ("accuracy", "coherence", "contributions", "overfit", "learning_time"):
        own = tables[name]
        other = own.assign(labels="other " + own["labels"], seed=(own["seed"] + 1) % len(SEEDS))
        found[name] = pd.concat([own, other], ignore_index=True)
    return found


def test_another_label_set_of_the_same_noise_changes_no_part_and_adds_its_own(tables, outcome, monkeypatch):
    """Pooled, each would change the other. Claims on single examples and on sweeps are of one label set."""
    monkeypatch.setattr(nulls, "NUM_DRAWS", 20)
    ids = {f"P{number}" for number in (*range(1, 15), 16)} | {"E8", "E9", "E10"}
    for claim in check_claims(with_other_label_sets(tables), SETTINGS, [one for one in CLAIMS if one.id in ids]):
        alone = outcome[claim.id]
        # The loss before training, whose shares are compared at, is a mean over all runs.
        found, expected = (
            [tuple(part.values.items()) for part in one.parts if "equal training loss" not in part.where]
            for one in (claim, alone)
        )
        assert set(expected) <= set(found), claim.id
        assert len({part.where for part in claim.parts}) == len(claim.parts) >= 2 * len(alone.parts), claim.id


def moved(table, rows, column, by, factor=1.0):
    """The table with a column of the chosen rows times a factor and plus a number."""
    return table.assign(**{column: table[column].where(~rows, table[column] * factor + by)})


def mirrored(sample_size):
    """The larger sample's curve falls where the smaller one's rises."""
    own = sample_size[sample_size["own_sample"]].set_index(["model", "labels", "seed", "step"])["m_coherence"]
    keys = pd.MultiIndex.from_frame(sample_size[["model", "labels", "seed", "step"]])
    inverse = 1 / own.reindex(keys).to_numpy()
    return sample_size.assign(m_coherence=sample_size["m_coherence"].where(sample_size["own_sample"], inverse))


# Claim -> table that is changed, how, and the end of the name of a part that this refutes.
OPPOSITES = {
    "P4": ("coherence", lambda t: moved(t, t["step"] >= 0, "m_coherence", 0, 30), ""),
    "P5": ("coherence", lambda t: moved(t, t["step"] == 0, "m_coherence", 0, 1e-3), "drops to below 10"),
    "P6": (
        "coherence",
        lambda t: moved(t, (t["layer"] == "conv") & (t["group"] == "train"), "m_coherence", 0, 0.01),
        "",
    ),
    "P7": ("coherence", lambda t: moved(t, t["model"] == "alexnet", "m_coherence", 0, 0.01), ""),
    "P12": ("overfit", lambda t: moved(t, t["optimizer"] == "c0", "train_accuracy", -0.5), ""),
    "P14": (
        "accuracy",
        lambda t: moved(t, (t["optimizer"] == "ra3") & (t["part"] == "train"), "accuracy", -0.3),
        "gap",
    ),
    "P17": ("sample_size", mirrored, "shape"),
    "E1": ("difficulty_coherence", lambda t: moved(t, t["group"] == "easy_train", "m_coherence", 0, 0.01), ""),
    "E2": ("difficulty_coherence", lambda t: moved(t, t["other"] == "hard_test", "cosine", -1), ""),
    "E3": ("difficulty_coherence", lambda t: moved(t, t["subset"] == "easy", "cosine", -1), ""),
    "E4": ("difficulty_agreement", lambda t: moved(t, t["n"] > 0, "easy_overlap", -0.4), ""),
    "E5": ("difficulty", lambda t: moved(t, t["changed"], "rank", -1), ""),
    "E6": ("difficulty", lambda t: moved(t, t["changed"], "forgetting_events", -5), ""),
    "E7": ("difficulty", lambda t: moved(t, t["changed"], "second_split_forgotten_at", 5), ""),
    "E8": (
        "coherence",
        lambda t: moved(t, t["group"] == "pristine", "pairwise_alignment", -1),
        "pristine over corrupt",
    ),
    "E9": ("accuracy", lambda t: moved(t, (t["part"] == "test") & (t["step"] == 128), "accuracy", 0.3), ""),
    "E10": (
        "coherence",
        lambda t: moved(t, (t["group"] == "heldout") & (t["step"] < 128), "pairwise_alignment", 1),
        "",
    ),
    "E11": ("sweep", lambda t: moved(t, t["value"] == 64, "smoothed_m_coherence", 0, 0.01), ""),
    "E12": ("equal_fit", lambda t: moved(t, t["optimizer"] == "m3", "corrupt_accuracy", 0.4), ""),
    "E13": ("confusion", lambda t: moved(t, t["width"] == 64, "min_cosine", -1), ""),
    "E14": ("median_scale", lambda t: moved(t, t["method"] == "m3", "corrupt_at_fit", 0.4), "settings, prevention"),
}


@pytest.mark.parametrize("id", OPPOSITES)
def test_a_claim_whose_opposite_holds_is_refuted(tables, id, monkeypatch):
    """No claim is safe from its opposite, as far as five seeds can tell; the others have such a test of their own."""
    monkeypatch.setattr(nulls, "NUM_DRAWS", 200)
    name, change, part = OPPOSITES[id]
    changed = tables | {name: change(tables[name])}
    if id == "P4":
        changed["accuracy"] = tables["accuracy"].assign(accuracy=tables["accuracy"]["accuracy"] + 0.1)  # all is fitted
    (claim,) = check_claims(changed, SETTINGS, [one for one in CLAIMS if one.id == id])
    assert "not supported" in {by_itself(one) for one in claim.parts if one.where.endswith(part)}
