"""The page about a study shows what its files and the records of its jobs say."""

from collections import Counter

import pandas as pd
import pytest

from mcoherence.audit.origins import read_provenance
from mcoherence.audit.page import made_by, run_times, several, study_page
from mcoherence.audit.result_checks import Findings
from mcoherence.data.store import SourceOrigin
from mcoherence.files.atomic import write_text
from mcoherence.files.page import write_page
from mcoherence.files.provenance import Provenance
from mcoherence.tables.dictionary import dictionary

CLAIMS = Provenance({}, {}, git_commit="of the claims", device="cpu", versions={"torch": "2"}, fp32_precision="ieee")
TIMES = pd.DataFrame(
    {
        "rule": ["train", "report"],
        "jobs": [2, 1],
        "total_s": [5.5, 1.04],
        "longest_s": [3.5, 1.04],
        "peak_mb": [100.4, float("nan")],
    }
)


def findings(files=3, not_hashed=0):
    """What `files` files say of themselves, one of which was made by another commit and on another device."""
    most = Counter({"abc": files - 1, "abd": 1}) if files else Counter()
    devices = Counter({"cpu": files - 1, "cuda <0>": 1}) if files else Counter()
    precisions = Counter({"ieee": files}) if files else Counter()
    versions = {"torch": Counter({"1.2.3": files})} if files else {}
    return Findings(files, most, devices, precisions, versions, hashed=7, not_hashed=not_hashed)


def page(found, config=None, data=None):
    columns = dictionary([("accuracy", ["step", "loss"])])
    return study_page(config or {"lr": 0.3}, found, CLAIMS, TIMES, columns, data or {}, CLAIMS)


def test_run_times_are_summed_per_rule_and_memory_is_that_of_the_largest_job(tmp_path):
    header = "s\th:m:s\tmax_rss\n"
    rows = {"train/a.tsv": "2.0\t0:00:02\t100", "train/b/c.tsv": "3.5\t0:00:03\t50", "report.tsv": "1\t0:00:01\t-"}
    for name, row in rows.items():
        write_text(tmp_path / "benchmarks" / name, header + row + "\n")
    times = run_times(tmp_path).set_index("rule")
    assert times.loc["train", ["jobs", "total_s", "longest_s", "peak_mb"]].tolist() == [2, 5.5, 3.5, 100]
    assert times.loc["report", "jobs"] == 1
    assert pd.isna(times.loc["report", "peak_mb"])


@pytest.mark.parametrize(
    "content",
    [
        "<tr><td>code (git commit)</td><td>abc (2 files), abd (1 files)</td></tr>",
        "<tr><td>device</td><td>cpu (2 files), cuda &lt;0&gt; (1 files)</td></tr>",
        "<tr><td>torch</td><td>1.2.3</td></tr>",
        "The 3 result files",
        "7 inputs",
        "<td>nats</td>",
        "&#34;lr&#34;: 0.3",
    ],
)
def test_the_page_shows_what_made_the_files_the_columns_and_the_settings(content):
    assert content in page(findings())


def test_the_page_says_of_every_data_set_whether_its_files_are_the_published_ones():
    data = {"small": SourceOrigin("mnist", 60, 20, "yes, by <x>"), "drawn": SourceOrigin("glyphs", 7, 8, None)}
    rows = page(findings(), data=data).replace("\n", "")
    cells = '<td class="number">{}</td><td class="number">{}</td><td>{}</td>'
    assert f"<td>small</td><td>mnist</td>{cells.format(60, 20, 'yes, by &lt;x&gt;')}" in rows
    assert f"<td>drawn</td><td>glyphs</td>{cells.format(7, 8, 'no files are published for this source')}" in rows
    assert "<h2>Data</h2>" not in page(findings())  # of toys alone


def test_the_page_says_what_it_was_made_by(tmp_path):
    write_page(tmp_path / "study.html", page(findings()), [])
    assert read_provenance(tmp_path / "study.html") == CLAIMS


def test_times_have_a_decimal_and_unknown_memory_is_a_dash():
    rows = "".join(page(findings()).split("\n"))
    train, report = (
        "".join(f'<td class="number">{cell}</td>' for cell in cells)
        for cells in (("2", "5.5", "3.5", "100"), ("1", "1.0", "1.0", "–"))
    )
    assert f"<td>train</td>{train}" in rows
    assert f"<td>report</td>{report}" in rows


def test_inputs_that_were_not_read_again_are_counted_where_there_are_any():
    assert "2 larger ones were not read again" in page(findings(not_hashed=2))
    assert "not read again" not in page(findings())


def test_a_study_without_result_files_shows_what_the_claims_say():
    assert made_by(findings(files=0), CLAIMS) == {"code (git commit)": "of the claims", "device": "cpu", "torch": "2"}


def test_several_values_are_listed_with_their_numbers_of_files_the_most_frequent_first():
    assert several(Counter(cpu=3)) == "cpu"
    assert several(Counter(cpu=3, cuda=20)) == "cuda (20 files), cpu (3 files)"
