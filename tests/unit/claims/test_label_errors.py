"""The statements on wrong labels, on AUROCs written out by hand."""

from itertools import product

import pandas as pd
import pytest

from mcoherence.claims.label_errors import alignment_over_loss, mean_over_last
from mcoherence.claims.registry import claims_of
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.testing import check_claims
from mcoherence.tables.label_errors import SCORES

SETTINGS = ClaimSettings(0.95, 8, 0.9, {}, experiments={"label_errors": "label_errors"})
AUROC = {("class_cosine", "last"): 0.6, ("class_cosine", "mean"): 0.9, ("loss", "last"): 0.8, ("loss", "mean"): 0.95}
AUROC |= {("all_cosine", "last"): 0.5, ("all_cosine", "mean"): 0.7}


def table_of(seeds=(0, 1)):
    """AUROCs of two label sets: those above, and those moved towards the other end by 0.1 for means."""
    return pd.DataFrame(
        [
            {"dataset": "d", "model": "net", "labels": labels, "noise": 0.1, "optimizer": "sgd", "subset": "full"}
            | {"seed": seed, "ranked_by": score, "over": over, "diverged": False}
            | {"auroc": AUROC.get((score, over), 0.5) - (0.1 if labels == "b" and over == "mean" else 0)}
            for labels, seed, (score, over) in product("ab", seeds, SCORES)
        ]
    )


def test_a_score_is_compared_with_itself_at_the_end_over_the_label_sets():
    parts = mean_over_last({"label_errors": table_of()}, SETTINGS)
    assert len(parts) == 9  # the scores of the whole course have no end
    found = parts["d, net, sgd, class_cosine"]
    assert found.per_seed.tolist() == pytest.approx([0.25, 0.25])
    assert found.note == "+0.200 (b) to +0.300 (a)"
    assert parts["d, net, sgd, loss"].per_seed.tolist() == pytest.approx([0.1, 0.1])
    assert found.null.interval == pytest.approx((0, 0))


def test_alignment_is_compared_with_the_loss_at_the_end_and_over_training():
    parts = alignment_over_loss({"label_errors": table_of()}, SETTINGS)
    found = {place.removeprefix("d, net, sgd, "): part.per_seed.tolist() for place, part in parts.items()}
    assert found == {
        "class_cosine, last": pytest.approx([-0.2, -0.2]),
        "class_cosine, mean": pytest.approx([-0.05, -0.05]),
        "all_cosine, last": pytest.approx([-0.3, -0.3]),
        "all_cosine, mean": pytest.approx([-0.25, -0.25]),
    }


def test_a_seed_without_all_label_sets_is_left_out():
    table = table_of(seeds=(0, 1, 2))
    table = table[~((table["labels"] == "b") & (table["seed"] == 2))]
    parts = mean_over_last({"label_errors": table}, SETTINGS)
    assert parts["d, net, sgd, loss"].per_seed.index.tolist() == [0, 1]


def test_they_are_reported():
    chosen = [one for one in claims_of("mcoherence.claims") if one.id in ("E15", "E16")]
    claims = check_claims({"label_errors": table_of()}, SETTINGS, chosen)
    assert [(one.level, one.verdict) for one in claims] == [("III", "reported")] * 2
