"""The statement on gradient confusion, on least cosines written out by hand."""

from dataclasses import replace

import pandas as pd
import pytest

from mcoherence.claims.confusion import confusion_by_structure
from mcoherence.claims.measured import rates_in_words
from mcoherence.claims.registry import claims_of
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.testing import check_claims

SETTINGS = ClaimSettings(0.95, 8, 0.9, {}, experiments={"confusion": "confusion"})
# (width, depth, batch norm, skips) -> least cosine at steps 0, 5, 10 and 40, that is at epochs 0, 0.5, 1 and 4
LEAST = {
    (16, 2, False, False): (0.5, -9, -0.6, -0.4),
    (64, 2, False, False): (0.6, -9, -0.3, -0.1),
    (64, 8, False, False): (0.2, -9, -0.8, -0.6),
    (64, 8, True, False): (0.1, -9, -0.1, -0.1),
    (64, 8, False, True): (0.9, -9, -0.5, -0.5),
    (64, 8, True, True): (0.7, -9, -0.2, 0.0),
}


def table_of(least, architecture="deep_mlp"):
    return pd.DataFrame(
        [
            {"dataset": "d", "model": str(network), "labels": "clean", "noise": 0.0, "optimizer": "sgd"}
            | {"subset": "full", "seed": seed, "architecture": architecture, "diverged": False}
            | dict(zip(("width", "depth", "normalised", "skip"), network, strict=True))
            | {"step": step, "epoch": step / 10, "min_cosine": value}
            for network, values in least.items()
            for seed in (0, 1)
            for step, value in zip((0, 5, 10, 40), values, strict=True)
        ]
    )


def test_networks_that_differ_in_one_setting_are_compared_at_the_start_and_from_the_first_epoch_on():
    parts = confusion_by_structure({"confusion": table_of(LEAST)}, SETTINGS)
    found = {place.removeprefix("d, clean, sgd, "): part.per_seed.tolist() for place, part in parts.items()}
    expected = {
        "depth 2, width 64 over 16": (0.1, 0.3),
        "width 64, depth 2 over 8": (0.4, 0.5),
        "width 64, depth 8, with batch norm": (-0.1, 0.6),
        "width 64, depth 8, with skip connections": (0.7, 0.2),
        "width 64, depth 8, with both": (0.5, 0.6),
    }
    assert found == {
        f"{what}, {stage}": pytest.approx([value] * 2)
        for what, values in expected.items()
        for stage, value in zip(("at the start", "in training"), values, strict=True)
    }
    assert all(part.null.interval == pytest.approx((0, 0)) for part in parts.values())


def test_networks_of_several_architectures_are_not_compared():
    narrow, wide = ({network: LEAST[network]} for network in list(LEAST)[:2])
    tables = {"confusion": pd.concat([table_of(narrow), table_of(wide, architecture="mlp")])}
    assert confusion_by_structure(tables, SETTINGS) == {}


def test_what_is_compared_in_training_says_its_learning_rate():
    """That of the network that should have the higher cosine, the wider. Before training there is none."""
    curve = pd.DataFrame({"step": [0, 5, 10, 40], "train_accuracy": [0.1, 0.5, 0.3, 0.9]})
    table = table_of(dict(list(LEAST.items())[:2])).merge(curve, on="step")
    narrow, wide = (str(network) for network in list(LEAST)[:2])
    rates = {"sgd": {narrow: 0.1, wide: 0.3}}
    (description,) = (one for one in claims_of("mcoherence.claims") if one.id == "E13")
    (claim,) = check_claims({"confusion": table}, replace(SETTINGS, methods={"sgd": "sgd"}, rates=rates), [description])
    assert {part.where.rpartition(", ")[2]: part.rates and rates_in_words(part.rates) for part in claim.parts} == {
        "at the start": None, "in training": "one rate, 0.3 (not stable)",
    }  # fmt: skip


def test_it_is_reported():
    (description,) = (one for one in claims_of("mcoherence.claims") if one.id == "E13")
    (claim,) = check_claims({"confusion": table_of(LEAST)}, SETTINGS, [description])
    assert (claim.level, claim.verdict) == ("III", "reported")
