"""Both forms of the outcome of the claims, JSON and a page, say the same."""

import pytest

from mcoherence.claims.page import as_json, claims_page, write_claims
from mcoherence.claims.stored import read_claims
from mcoherence.claims.testing import Claim, Part
from mcoherence.errors import UserError
from mcoherence.files.provenance import provenance

SUPPORTED = Part("d, <net>", {0: 0.2, 1: 0.4}, 0.3, (0.2, 0.4), (0.1, 0.5), "supported")
OPEN = Part("d, other", {0: 0.2}, None, None, None, "inconclusive")


def test_a_claim_as_json_shows_the_part_that_decides():
    entry = as_json(Claim("P1", "statement", "source", "II", "statistic", (SUPPORTED, OPEN)))
    assert (entry["verdict"], entry["where"]) == ("inconclusive", "d, other")
    assert (entry["value"], entry["interval"], entry["t_interval"]) == (None, None, None)
    entry = as_json(Claim("P1", "statement", "source", "II", "statistic", (SUPPORTED,)))
    assert (entry["verdict"], entry["value"], entry["num_seeds"]) == ("supported", 0.3, 2)
    assert (entry["interval"], entry["t_interval"]) == ((0.2, 0.4), (0.1, 0.5))
    assert entry["level"] == "II"


def test_the_page_is_escaped_and_complete():
    page = claims_page([Claim("P1", "a & b", "source", "II", "statistic", (SUPPORTED,))], 0.95)
    assert "a &amp; b" in page
    assert "d, &lt;net&gt;" in page
    numbers = "".join(f'<td class="number">{text}</td>' for text in ("+0.300", "[+0.200, +0.400]", "[+0.100, +0.500]"))
    assert page.count(numbers) == 2  # in the claim's row, and in that of its part
    assert page.count('<td class="supported">supported</td>') == 2
    assert "tests/unit/test_coherence.py::test_m_coherence_of_known_gradients" in page
    assert "95% interval over seeds, bootstrap" in page
    assert "diverged" not in page


def test_a_part_without_intervals_has_dashes():
    page = claims_page([Claim("P1", "a", "b", "II", "c", (OPEN,))], 0.95)
    assert page.count(3 * '<td class="number">–</td>') == 2
    assert "+0.200" not in page


def test_runs_that_diverged_are_named_once():
    claims = [Claim(name, "a", "b", "II", "c", (SUPPORTED,), diverged=("run b", "run <a>")) for name in ("P1", "P2")]
    assert "<p>Left out, because they diverged: run &lt;a&gt;; run b.</p>" in claims_page(claims, 0.95)


def test_a_claim_that_is_not_tested_says_why_in_both_forms():
    claim = Claim("P9", "a", "b", "II", "c", (), missing="needs runs of <SGD>")
    entry = as_json(claim)
    assert (entry["verdict"], entry["missing"], entry["parts"]) == ("not tested", "needs runs of <SGD>", [])
    page = claims_page([claim], 0.95)
    assert "<small>needs runs of &lt;SGD&gt;</small>" in page
    assert '<td class="not-tested">not tested</td>' in page
    assert "<summary>" not in page


@pytest.fixture
def written(tmp_path):
    """The paths of claims.json and claims.html of one supported claim."""
    claims = [Claim("P1", "statement", "source", "II", "statistic", (SUPPORTED,))]
    write_claims(tmp_path / "claims.json", tmp_path / "claims.html", claims, 0.95, provenance({"confidence": 0.95}, []))
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
    assert str(refusal.value).endswith("make it again: snakemake --cores all --forcerun check_claims")
    assert "\n" not in str(refusal.value)
