"""Describe a study: settings, versions, run times and tables as one page for the report, and its resolved config.

The settings are those that the result files say they were made by; where they are not those of the config, there is no
page, and so no report.
"""

import html
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow.parquet import read_schema

from mcoherence.audit.job_records import read_record
from mcoherence.audit.result_checks import Findings, Origin, check_results, check_settings, origin_of_figure, several
from mcoherence.figures.saving import read_sources
from mcoherence.files.storage import atomic_path, write_json, write_text
from mcoherence.files.tables import check_table
from mcoherence.study.settings import claim_settings
from mcoherence.tables.dictionary import dictionary
from workflow_scripts.command_line import parse, run

STYLE = """body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem;max-width:60rem;color:#222}
table{border-collapse:collapse;margin:0 0 1.5rem}th,td{border-bottom:1px solid #ccc;padding:.3rem .8rem;text-align:left}
td.number{text-align:right;font-variant-numeric:tabular-nums}pre{background:#f5f5f5;padding:1rem;overflow:auto}"""


def main() -> None:
    """Gather what the files and the records of jobs say and write it down."""
    arguments = parse(
        __doc__, paths=["results", "claims", "html", "config", "dictionary"], path_lists=["tables", "figures"]
    )
    config = arguments.settings["config"]
    claims = Origin(**json.loads(arguments.claims.read_text())["provenance"])
    check_settings(str(arguments.claims), claims.settings, claim_settings(config))
    for table in arguments.tables:
        check_table(table)
    figures = {str(path): origin_of_figure(read_sources(path)) for path in arguments.figures}
    findings = check_results(config, {str(arguments.claims): claims} | figures)
    write_json(arguments.config, config)
    columns = dictionary((path.stem, read_schema(path).names) for path in arguments.tables)
    with atomic_path(arguments.dictionary) as temporary:
        columns.to_csv(temporary, index=False, lineterminator="\n")
    write_text(
        arguments.html,
        page(config, origin_of(findings, claims), checked(findings), run_times(arguments.results), columns),
    )


def origin_of(findings: Findings, claims: Origin) -> dict[str, str]:
    """Name -> commit, device and versions of all result files, of the claims where a study has no such file."""
    if not findings.files:
        return {"code (git commit)": claims.git_commit, "device": claims.device} | claims.versions
    return {
        "code (git commit)": several(findings.commits.items()),
        "device": several(findings.devices.items()),
    } | {name: several(counts.items()) for name, counts in findings.versions.items()}


def checked(findings: Findings) -> str:
    """What was checked of the settings that the page shows, in words."""
    inputs = f"{findings.hashed} inputs of theirs are unchanged since, by SHA-256"
    rest = f"; {findings.not_hashed} larger ones were not read again" if findings.not_hashed else ""
    return (
        f"As the config asks for. The {findings.files} result files of the study (images, labels, checkpoints, "
        f"evaluations, measurements, splits) say that they were made by just these settings; {inputs}{rest}. The "
        "tables are as they were written, and the claims and every figure were made from these very tables."
    )


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


def page(
    config: dict[str, object], origin: dict[str, str], checks: str, times: pd.DataFrame, columns: pd.DataFrame
) -> str:
    """The page as HTML that needs nothing else."""
    versions = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in origin.items()
    )
    rows = "".join(
        f"<tr><td>{html.escape(str(row.rule))}</td><td class='number'>{row.jobs}</td><td class='number'>"
        f"{row.total_s:.1f}</td><td class='number'>{row.longest_s:.1f}</td>"
        f"<td class='number'>{_megabytes(row.peak_mb)}</td></tr>"
        for row in times.itertuples()
    )
    meanings = "".join(
        f"<tr><td>{html.escape(table)}</td><td>{html.escape(column)}</td><td>{html.escape(unit)}</td>"
        f"<td>{html.escape(meaning)}</td></tr>"
        for table, column, unit, meaning in columns.itertuples(index=False)
    )
    return (
        f"<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>About this study</title><style>{STYLE}"
        f"</style></head><body><h1>About this study</h1><h2>Code, versions, device</h2><table>{versions}</table>"
        "<h2>Run times</h2><table><thead><tr><th>Rule</th><th>Jobs</th><th>Wall time, all jobs (s)</th><th>Longest job "
        f"(s)</th><th>Peak memory (MB)</th></tr></thead><tbody>{rows}</tbody></table><h2>Tables</h2>"
        "<p>Every number of the figures and claims is in the CSV and Parquet files of the folder tables, beside this "
        "list (dictionary.csv).</p>"
        "<table><thead><tr><th>Table</th><th>Column</th><th>Unit</th><th>Meaning</th></tr></thead>"
        f"<tbody>{meanings}</tbody></table><h2>Settings</h2>"
        f"<p>{html.escape(checks)}</p>"
        f"<pre>{html.escape(json.dumps(config, indent=2, sort_keys=True))}</pre></body></html>\n"
    )


def _megabytes(peak: Any) -> str:
    return "–" if math.isnan(peak) else f"{peak:.0f}"


if __name__ == "__main__":
    run(main)
