"""The edges of the command-line modules: options, a user's mistake, and the pages that they write."""

import gc
import importlib
import sys

import pandas as pd
import pytest

import workflow_scripts
from mcoherence.claims.testing import Claim, Part
from mcoherence.errors import UserError
from mcoherence.files.storage import write_text
from mcoherence.tables.dictionary import dictionary
from workflow_scripts import check_claims, describe_study
from workflow_scripts.command_line import parse, run


def test_options_are_paths_lists_and_settings(monkeypatch, tmp_path):
    arguments = ["x", "--settings", '{"lr": 0.1}', "--one-file", str(tmp_path), "--many", "a", "b", "--none"]
    monkeypatch.setattr(sys, "argv", arguments)
    parsed = parse("what", paths=["one_file"], path_lists=["many", "none"])
    assert parsed.settings == {"lr": 0.1}
    assert parsed.one_file == tmp_path
    assert [path.name for path in parsed.many] == ["a", "b"]
    assert parsed.none == []
    assert (parsed.device, parsed.threads) == ("auto", 1)


@pytest.mark.parametrize(("given", "expected"), [("--download", True), ("--no-download", False)])
def test_a_switch_is_given_either_way(monkeypatch, given, expected):
    monkeypatch.setattr(sys, "argv", ["x", "--settings", "{}", given])
    assert parse("what", switches=["download"]).download is expected


def test_a_users_mistake_is_one_line_and_status_one(capsys):
    def main():
        raise UserError("file: found this, expected that; do so")

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == "error: file: found this, expected that; do so"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)


SUPPORTED = Part("d, <net>", {0: 0.2, 1: 0.4}, 0.3, (0.2, 0.4), (0.1, 0.5), "supported")
OPEN = Part("d, other", {0: 0.2}, None, None, None, "inconclusive")


def test_a_claim_as_json_shows_the_part_that_decides():
    entry = check_claims.as_json(Claim("P1", "statement", "source", "II", "statistic", (SUPPORTED, OPEN)))
    assert (entry["verdict"], entry["where"]) == ("inconclusive", "d, other")
    assert (entry["value"], entry["interval"], entry["t_interval"]) == (None, None, None)
    entry = check_claims.as_json(Claim("P1", "statement", "source", "II", "statistic", (SUPPORTED,)))
    assert (entry["verdict"], entry["value"], entry["num_seeds"]) == ("supported", 0.3, 2)
    assert (entry["interval"], entry["t_interval"]) == ((0.2, 0.4), (0.1, 0.5))
    assert entry["level"] == "II"


def test_the_page_of_the_claims_is_escaped_and_complete():
    page = check_claims.as_html([Claim("P1", "a & b", "source", "II", "statistic", (SUPPORTED,))], 0.95)
    assert "a &amp; b" in page
    assert "d, &lt;net&gt;" in page
    assert "+0.300" in page
    assert "[+0.200, +0.400]" in page
    assert "[+0.100, +0.500]" in page
    assert "tests/unit/test_coherence.py::test_m_coherence_of_known_gradients" in page
    assert "95%" in page


def test_a_claim_that_is_not_tested_says_why_in_both_forms():
    claim = Claim("P9", "a", "b", "II", "c", (), missing="needs runs of <SGD>")
    entry = check_claims.as_json(claim)
    assert (entry["verdict"], entry["missing"], entry["parts"]) == ("not tested", "needs runs of <SGD>", [])
    page = check_claims.as_html([claim], 0.95)
    assert "needs runs of &lt;SGD&gt;" in page
    assert "<td class='not-tested'>not tested</td>" in page


def test_run_times_are_summed_per_rule_and_memory_is_that_of_the_largest_job(tmp_path):
    header = "s\th:m:s\tmax_rss\n"
    rows = {"train/a.tsv": "2.0\t0:00:02\t100", "train/b/c.tsv": "3.5\t0:00:03\t50", "report.tsv": "1\t0:00:01\t-"}
    for name, row in rows.items():
        write_text(tmp_path / "benchmarks" / name, header + row + "\n")
    times = describe_study.run_times(tmp_path).set_index("rule")
    assert times.loc["train", ["jobs", "total_s", "longest_s", "peak_mb"]].tolist() == [2, 5.5, 3.5, 100]
    assert times.loc["report", "jobs"] == 1
    assert pd.isna(times.loc["report", "peak_mb"])


def test_the_page_of_the_study_shows_settings_versions_and_times():
    times = pd.DataFrame({"rule": ["train"], "jobs": [2], "total_s": [5.5], "longest_s": [3.5], "peak_mb": [100.0]})
    columns = dictionary([("accuracy", ["step", "loss"])])
    page = describe_study.page({"lr": 0.3}, {"torch": "1.2.3"}, "As the config asks for.", times, columns)
    for content in (
        "As the config asks for.",
        "&quot;lr&quot;: 0.3",
        "1.2.3",
        "<td>train</td>",
        "5.5",
        "<td>nats</td>",
    ):
        assert content in page


def test_garbage_is_collected_while_a_command_works(capsys):
    gc.disable()
    try:
        run(lambda: print(gc.isenabled()))
    finally:
        gc.enable()
        gc.unfreeze()
    assert capsys.readouterr().out == "True\n"


def test_only_a_command_imports_without_the_garbage_collector(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["-m"])
    importlib.reload(workflow_scripts)
    try:
        assert not gc.isenabled()
    finally:
        gc.enable()
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pytest"])
    importlib.reload(workflow_scripts)
    assert gc.isenabled()
