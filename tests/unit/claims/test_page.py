"""Both forms of the outcome of the claims, JSON and a page, say the same."""

from dataclasses import replace

import pytest

from mcoherence.claims.measured import LearningRate
from mcoherence.claims.nulls import Null
from mcoherence.claims.page import as_json, claims_page, part_on_axis, write_claims
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.stored import read_claims
from mcoherence.claims.testing import Claim
from mcoherence.claims.verdicts import Part
from mcoherence.data.store import SourceOrigin
from mcoherence.errors import UserError
from mcoherence.files.provenance import provenance

SETTINGS = ClaimSettings(confidence=0.95, first_step=8, target_accuracy=0.9, methods={})
SUPPORTED = Part(
    "d, <net>", {0: 0.2, 1: 0.4}, 0.3, (0.2, 0.4), (0.1, 0.5), "supported",
    reason="both above", null=Null((-0.1, 0.1), "two equal <nets>"), margin=0.02, detectable=0.25, refutation_p=0.99,
    rates={"slow": LearningRate(0.1, True), "fast": LearningRate(0.3, False, here=False)}, note="easy on easy +0.050",
)  # fmt: skip
OPEN = Part("d, other", {0: 0.2}, None, None, None, "inconclusive", reason="fewer than two seeds")


def test_a_claim_as_json_shows_the_part_that_decides():
    entry = as_json(Claim("P1", "statement", "source", "II", "statistic", (SUPPORTED, OPEN)))
    assert (entry["verdict"], entry["where"]) == ("inconclusive", "d, other")
    assert (entry["value"], entry["interval"], entry["t_interval"]) == (None, None, None)
    entry = as_json(Claim("P1", "statement", "source", "II", "statistic", (SUPPORTED,)))
    assert (entry["verdict"], entry["value"], entry["num_seeds"]) == ("supported", 0.3, 2)
    assert (entry["interval"], entry["t_interval"]) == ((0.2, 0.4), (0.1, 0.5))
    assert entry["level"] == "II"


def test_statements_of_this_project_stand_apart_from_the_papers():
    claims = [Claim(f"{level[0]}1", f"sentence {level}", "b", level, "c", (SUPPORTED,)) for level in ("II", "own")]
    papers, _, own = claims_page(claims, SETTINGS).partition("<h2>Statements of this project</h2>")
    own = own.partition("<h2>All parts</h2>")[0]
    assert ("sentence II" in papers, "sentence own" in papers) == (True, False)
    assert ("sentence II" in own, "sentence own" in own) == (False, True)
    assert "No paper makes these" in own


CELLS = ("+0.300", "[+0.200, +0.400]", "[+0.100, +0.500]", "[-0.100, +0.100]", "0.250")


def test_the_page_is_escaped_and_complete():
    page = claims_page([Claim("P1", "a & b", "source", "II", "statistic", (SUPPORTED,))], SETTINGS)
    assert "a &amp; b" in page
    assert "d, &lt;net&gt;" in page
    numbers = "".join(f'<td class="number">{text}</td>' for text in CELLS)
    assert page.count(numbers) == 2  # in the claim's row, and in that of its part
    assert page.count('<td><span class="supported">supported</span>') == 2
    assert "tests/unit/test_coherence.py::test_m_coherence_of_known_gradients" in page
    assert "95% interval over seeds, bootstrap" in page
    assert "diverged" not in page


def test_a_part_without_intervals_has_dashes():
    page = claims_page([Claim("P1", "a", "b", "II", "c", (OPEN,))], SETTINGS)
    assert page.count(5 * '<td class="number">–</td>') == 2
    assert "+0.200" not in page


def test_runs_that_diverged_are_named_once():
    claims = [Claim(name, "a", "b", "II", "c", (SUPPORTED,), diverged=("run b", "run <a>")) for name in ("P1", "P2")]
    assert "<p>Left out, because they diverged: run &lt;a&gt;; run b.</p>" in claims_page(claims, SETTINGS)


def test_the_page_says_of_every_data_set_whether_its_files_are_the_published_ones():
    data = {"small": SourceOrigin("mnist", 60, 20, "yes, by <x>"), "drawn": SourceOrigin("glyphs", 7, 8, None)}
    page = claims_page([Claim("P1", "a", "b", "II", "c", (OPEN,))], SETTINGS, data)
    assert "small (60 training and 20 test images of mnist): yes, by &lt;x&gt;;" in page
    assert "drawn (7 training and 8 test images of glyphs): no files are published for this source." in page


def test_a_claim_that_is_not_tested_says_why_in_both_forms():
    claim = Claim("P9", "a", "b", "II", "c", (), missing="needs runs of <SGD>")
    entry = as_json(claim)
    assert (entry["verdict"], entry["missing"], entry["parts"]) == ("not tested", "needs runs of <SGD>", [])
    page = claims_page([claim], SETTINGS)
    assert "<small>needs runs of &lt;SGD&gt;</small>" in page
    assert '<td><span class="not-tested">not tested</span>' in page
    assert "<summary>" not in page


@pytest.fixture
def written(tmp_path):
    """The paths of claims.json and claims.html of one supported claim."""
    claims = [Claim("P1", "statement", "source", "II", "statistic", (SUPPORTED,))]
    write_claims(
        tmp_path / "claims.json", tmp_path / "claims.html", claims, SETTINGS, provenance({"confidence": 0.95}, [])
    )
    return tmp_path / "claims.json", tmp_path / "claims.html"


def test_claims_are_read_as_they_were_written(written):
    content = read_claims(*written)
    assert [claim["verdict"] for claim in content["claims"]] == ["supported"]
    assert content["provenance"]["settings"] == {"confidence": 0.95}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.replace(b"supported", b"inconclusive", 1),
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b"0.2", b"0.9", 1) + b" ",
        lambda content: b"[1, 2]",
        lambda content: b"\xff\xfe",
        None,
    ],
)
def test_edited_claims_and_an_edited_page_are_refused(written, which, edit):
    path = written[which]
    if edit is None:
        path.unlink()
    else:
        path.write_bytes(edit(path.read_bytes()))
    with pytest.raises(UserError, match=rf"{path.name}: (changed since|missing)") as refusal:
        read_claims(*written)
    assert str(refusal.value).endswith("; delete claims.json and claims.html and run again")
    assert "\n" not in str(refusal.value)


def test_a_part_as_json_has_its_null_its_margin_and_what_the_study_could_have_found():
    (part, empty) = as_json(Claim("P1", "statement", "source", "II", "statistic", (SUPPORTED, OPEN)))["parts"]
    assert part == {
        "where": "d, <net>", "unit": "number", "value": 0.3, "interval": (0.2, 0.4), "t_interval": (0.1, 0.5),
        "null": (-0.1, 0.1),
        "null_rule": "two equal <nets>", "margin": 0.02, "states_level": False, "detectable": 0.25,
        "refutation_p": 0.99,
        "rates": {
            "slow": {"lr": 0.1, "stable": True, "here": True}, "fast": {"lr": 0.3, "stable": False, "here": False},
        },
        "values_by_seed": {0: 0.2, 1: 0.4},
        "note": "easy on easy +0.050", "verdict": "supported", "reason": "both above",
    }  # fmt: skip
    assert (empty["null"], empty["null_rule"], empty["rates"], empty["detectable"]) == (None, None, None, None)


def test_the_page_shows_what_each_part_was_held_against():
    page = claims_page([Claim("P1", "a", "b", "II", "c", (SUPPORTED, OPEN))], SETTINGS)
    for text in (
        "two equal &lt;nets&gt;",
        "0.1 (stable); elsewhere 0.3 (not stable)",
        "easy on easy +0.050",
        "fewer than two seeds",
    ):
        assert text in page
    assert page.count("<svg") == 1  # the open part has nothing to draw


def test_the_thresholds_are_printed_with_their_values(written):
    thresholds = read_claims(*written)["thresholds"]
    assert (thresholds["equivalence_margin"], thresholds["near"], thresholds["fitted"]) == (0.02, 3, 0.999)
    page = written[1].read_text()
    assert '<td><code>other_fits</code></td><td class="number">0.8, 0.9, 0.99</td>' in page
    for name, value in thresholds.items():
        if not isinstance(value, list):
            assert f'<td><code>{name}</code></td><td class="number">{value:g}</td>' in page


def test_a_threshold_of_no_values_is_a_dash_on_the_page():
    page = claims_page([], replace(SETTINGS, other_fits=[]))
    assert '<td><code>other_fits</code></td><td class="number">–</td>' in page


def test_the_drawing_has_the_null_beside_the_interval_on_one_axis():
    """From -0.1 to 0.5 in 110 pixels, 5 from the left."""
    drawn = part_on_axis(SUPPORTED)
    assert drawn.null == pytest.approx((5, 36.7), abs=0.05)
    assert (drawn.zero, drawn.low, drawn.high, drawn.value) == pytest.approx((23.3, 41.7, 115, 78.3), abs=0.05)
    assert part_on_axis(OPEN) is None
