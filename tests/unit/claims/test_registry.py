"""Claims are found by the folder that they are in, each once, and say what they are."""

import sys
from pathlib import Path

import pandas as pd
import pytest

from mcoherence.claims.registry import claim, claims_of
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.testing import check_claims
from mcoherence.study.catalogue import EXPERIMENTS

ROOT = Path(__file__).parents[3]
CLAIMS = claims_of("mcoherence.claims")
SETTINGS = ClaimSettings(0.95, 2, 0.9, {"sgd": "sgd"}, experiments={"accuracy": "label_noise", "toy": "toy"})
LOOK = {"short": "all well", "unit": "points", "figure": "training_curves"}
TEXTS = {"source": "nobody", "statistic": "accuracy", "tables": ("accuracy",), "needs": "runs"} | LOOK
MODULE = """
import pandas as pd
from mcoherence.claims.registry import claim
from mcoherence.claims.measured import Measured
from mcoherence.claims.nulls import rounding

@claim(
    "{id}", "All is well.", short="all well", source="nobody", statistic="accuracy", unit="points",
    figure="training_curves", tables=("accuracy",), needs="runs",
)
def all_is_well(tables{parameters}):
    accuracy = tables["accuracy"].set_index("seed")["accuracy"]
    return {{"everywhere, " + "+".join(tables): Measured(accuracy, rounding(0.0))}}
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of claims with one module: P901 of tables alone, P902 of tables and settings."""
    folder = tmp_path / "further_claims"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "one.py").write_text(MODULE.format(id="P901", parameters=""))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("mcoherence.claims.registry._DESCRIPTIONS", {})
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == folder.name]:
        del sys.modules[name]


def test_a_claim_in_a_new_file_is_found(package):
    assert [one.id for one in claims_of("further_claims")] == ["P901"]
    (package / "two.py").write_text(MODULE.format(id="P902", parameters=", settings"))
    found = claims_of("further_claims")
    assert [one.id for one in found] == ["P901", "P902"]
    table = pd.DataFrame({"seed": [0, 1, 2], "accuracy": [0.4, 0.5, 0.6], "noise": 0.0})
    claims = check_claims({"accuracy": table, "toy": table}, SETTINGS, found)
    for tested in claims:
        (part,) = tested.parts
        # the table toy is not among those that the claim says it reads
        assert (part.where, part.value, tested.verdict) == (
            "everywhere, accuracy+diverged",
            pytest.approx(0.5),
            "supported",
        )


def test_two_claims_of_one_id_are_refused(package):
    (package / "two.py").write_text(MODULE.format(id="P901", parameters=""))
    with pytest.raises(
        ValueError, match=r"^claim P901: further_claims\.two states it again, after further_claims\.one$"
    ):
        claims_of("further_claims")


def test_the_function_stays_what_it_is(package):
    def statistic(tables):
        return {}

    assert claim("P903", "Nothing.", **TEXTS)(statistic) is statistic


def test_a_claim_names_a_figure_that_experiments_draw_and_is_short_in_a_drawing():
    drawn = {name for experiment in EXPERIMENTS.values() for name in experiment.figures}
    assert {one.figure for one in CLAIMS} <= drawn
    assert all(0 < len(one.short) <= 36 for one in CLAIMS)
    assert len({one.short for one in CLAIMS}) == len(CLAIMS)


def test_the_unit_of_a_part_is_its_own_or_the_claims(package):
    table = pd.DataFrame({"seed": [0, 1, 2], "accuracy": [0.4, 0.5, 0.6], "noise": 0.0})
    (tested,) = check_claims({"accuracy": table}, SETTINGS, claims_of("further_claims"))
    assert (tested.unit, tested.parts[0].unit) == ("points", "points")
    (package / "two.py").write_text(MODULE.format(id="P902", parameters="").replace("0.0))", '0.0), unit="factor")'))
    *_, other = check_claims({"accuracy": table}, SETTINGS, claims_of("further_claims"))
    assert (other.unit, other.parts[0].unit) == ("points", "factor")


def test_no_number_is_left_out():
    """P is a claim of the papers, E an expectation of this study: each counts from one, in the order of the page."""
    for letter in "PE":
        numbers = [int(one.id[1:]) for one in CLAIMS if one.id[0] == letter]
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert {one.id[0] for one in CLAIMS} == set("PE")


def test_the_papers_claims_are_there():
    assert {f"P{number}" for number in range(1, 19)} <= {one.id for one in CLAIMS}


@pytest.mark.parametrize("one", CLAIMS, ids=lambda one: one.id)
def test_every_claim_says_what_it_is_of_and_what_it_needs(one):
    assert one.statement.endswith(".")
    assert one.source
    assert one.statistic
    assert one.needs
    for name in one.tables:
        assert (ROOT / f"mcoherence/tables/{name}.py").is_file()
