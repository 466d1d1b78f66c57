"""A study in which no claim has anything to find: no null passes by itself, and no claim is supported.

The tables are drawn here: curves, times and accuracies of a run do not depend on its labels, optimiser, width, tags, or
on what it is trained on, and vary between runs. What is positive by construction stays so: easy test examples are easy
for every network, the larger group of examples has the larger share of the gradient, a maximum is no less than the end.
"""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

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
def outcome():
    """Claim by id, of one study without anything to find."""
    tables = {
        make.__name__: make(np.random.default_rng(number))
        for number, make in enumerate(
            (
                accuracy, coherence, contributions, overfit, easy_hard, difficulty, difficulty_coherence,
                difficulty_agreement, learning_time, toy, sample_size, sweep, equal_fit, confusion, median_scale,
                label_errors,
            )
        )
    }  # fmt: skip
    return {claim.id: claim for claim in check_claims(tables, SETTINGS, CLAIMS)}


@pytest.mark.parametrize("id", [one.id for one in CLAIMS])
def test_no_null_passes_by_itself(outcome, id):
    assert outcome[id].missing is None  # else the tables above say nothing to it
    for part in outcome[id].parts:
        assert part.null is not None, part.where
        assert part.null.interval is not None, (part.where, part.null.rule)
        assert part.null.interval[0] <= 0, part.where


@pytest.mark.parametrize("id", [one.id for one in CLAIMS])
def test_no_claim_is_supported_where_there_is_nothing_to_find(outcome, id):
    assert outcome[id].verdict != "supported"


def test_equal_methods_are_rarely_told_apart(outcome):
    """Of the parts of nothing at most a few pass by chance; 2.5% would with Student's interval alone."""
    verdicts = [part.verdict for claim in outcome.values() for part in claim.parts if part.null is not None]
    assert len(verdicts) > 80
    assert verdicts.count("supported") <= 0.05 * len(verdicts)
