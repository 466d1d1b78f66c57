"""The page about a study: code and versions, run times, what the tables' columns mean, and the settings."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mcoherence.audit.job_records import read_record
from mcoherence.audit.result_checks import Findings
from mcoherence.data.store import SourceOrigin
from mcoherence.files.canonical import canonical_json
from mcoherence.files.page import html_page
from mcoherence.files.provenance import Provenance
from mcoherence.study.runs import Config

PAGE = """\
{% extends "frame" %}
{% block title %}About this study{% endblock %}
{% block body %}
<h1>About this study</h1>
<h2>Code, versions, device</h2>
<table>
{% for name, value in made_by.items() %}
<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}
</table>
{% if data %}
<h2>Data</h2>
<table>
<thead><tr><th>Data set</th><th>Source</th><th>Training images</th><th>Test images</th>
<th>Are its files the published ones?</th></tr></thead>
<tbody>
{% for name, of in data.items() %}
<tr><td>{{ name }}</td><td>{{ of.source }}</td><td class="number">{{ of.train }}</td>
<td class="number">{{ of.test }}</td><td>{{ of.published or "no files are published for this source" }}</td></tr>
{% endfor %}
</tbody>
</table>
{% endif %}
<h2>Run times</h2>
<table>
<thead><tr><th>Rule</th><th>Jobs</th><th>Wall time, all jobs (s)</th><th>Longest job (s)</th>
<th>Peak memory (MB)</th></tr></thead>
<tbody>
{% for row in times.itertuples() %}
<tr><td>{{ row.rule }}</td><td class="number">{{ row.jobs }}</td>
<td class="number">{{ "%.1f" | format(row.total_s) }}</td><td class="number">{{ "%.1f" | format(row.longest_s) }}</td>
<td class="number">{{ "–" if isnan(row.peak_mb) else "%.0f" | format(row.peak_mb) }}</td></tr>
{% endfor %}
</tbody>
</table>
<h2>Tables</h2>
<p>Every number of the figures and claims is in the CSV and Parquet files of the folder tables, beside this list
(dictionary.csv).</p>
<table>
<thead><tr><th>Table</th><th>Column</th><th>Unit</th><th>Meaning</th></tr></thead>
<tbody>
{% for table, column, unit, meaning in columns.itertuples(index=False) %}
<tr><td>{{ table }}</td><td>{{ column }}</td><td>{{ unit }}</td><td>{{ meaning }}</td></tr>
{% endfor %}
</tbody>
</table>
<h2>Settings</h2>
<p>As the config asks for. The {{ findings.files }} result files of the study (images, labels, checkpoints, evaluations,
measurements, splits) say that they were made by just these settings and the present code; {{ findings.hashed }} inputs
of theirs are unchanged since, by SHA-256
{%- if findings.not_hashed %}; {{ findings.not_hashed }} larger ones were not read again{% endif %}. The tables are as
they were written, and the claims and every figure were made from these very tables.</p>
<pre>{{ settings }}</pre>
<p hidden id="provenance">{{ origin }}</p>
{% endblock %}
"""


def study_page(
    config: Config,
    findings: Findings,
    claims: Provenance,
    times: pd.DataFrame,
    columns: pd.DataFrame,
    data: Mapping[str, SourceOrigin],
    origin: Provenance,
) -> str:
    """The page.

    Args:
        config: the settings to show.
        findings: what the result files say that they were made by.
        claims: what the claims say; shown of a study that has no result files, such as one of toys alone.
        times: as `run_times` returns them.
        columns: what the columns of the tables mean, see `mcoherence.tables.columns.dictionary`.
        data: data set -> where its images are from.
        origin: what the page is made by and from.
    """
    return html_page(
        PAGE,
        made_by=made_by(findings, claims),
        times=times,
        columns=columns,
        data=data,
        findings=findings,
        settings=json.dumps(config, indent=2, sort_keys=True),
        origin=canonical_json(origin.as_attributes()),
        isnan=math.isnan,
    )


def made_by(findings: Findings, claims: Provenance) -> dict[str, str]:
    """Name -> commit, device and versions of all result files, of the claims where a study has no such file."""
    if not findings.files:
        return {"code (git commit)": claims.git_commit, "device": claims.device, **claims.versions}
    return {
        "code (git commit)": several(findings.commits),
        "device": several(findings.devices),
        "float32 products": several(findings.precisions),
    } | {name: several(counts) for name, counts in findings.versions.items()}


def several(counts: Counter[str]) -> str:
    """Values with how many files say so, the most frequent first; the value alone where all say the same."""
    ordered = sorted(counts.items(), key=lambda count: (-count[1], count[0]))
    if len(ordered) == 1:
        return ordered[0][0]
    return ", ".join(f"{value} ({number} files)" for value, number in ordered)


def run_times(results: Path) -> pd.DataFrame:
    """One row per rule: jobs, total_s and longest_s (wall time, seconds), peak_mb (largest resident memory, or NaN)."""
    folder = results / "benchmarks"
    rows = []
    for path in sorted(folder.rglob("*.tsv")):  # in one folder or one file per rule
        job = path.relative_to(folder).with_suffix("")
        record = read_record(results, job)
        rows.append({"rule": job.parts[0], "seconds": record.seconds, "peak_mb": record.peak_mb})
    times = pd.DataFrame(rows, columns=["rule", "seconds", "peak_mb"]).groupby("rule")
    return pd.DataFrame(
        {
            "jobs": times.size(),
            "total_s": times["seconds"].sum(),
            "longest_s": times["seconds"].max(),
            "peak_mb": times["peak_mb"].max(),
        }
    ).reset_index()
