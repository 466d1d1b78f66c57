"""Describe a study: settings, versions, run times and tables as one page for the report, and its resolved config."""

import html
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow.parquet import read_schema

from mcoherence.data_dictionary import dictionary
from mcoherence.run_files import COHERENCE_SCHEMA
from mcoherence.storage import atomic_path, open_hdf5, write_json, write_text
from workflow_scripts.command_line import parse, run

STYLE = """body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem;max-width:60rem;color:#222}
table{border-collapse:collapse;margin:0 0 1.5rem}th,td{border-bottom:1px solid #ccc;padding:.3rem .8rem;text-align:left}
td.number{text-align:right;font-variant-numeric:tabular-nums}pre{background:#f5f5f5;padding:1rem;overflow:auto}"""


def main() -> None:
    """Gather what the files and Snakemake's benchmarks say and write it down."""
    arguments = parse(
        __doc__, paths=["benchmarks", "claims", "html", "config", "dictionary"], path_lists=["measured", "tables"]
    )
    config = arguments.settings["config"]
    made = json.loads(arguments.claims.read_text())["provenance"]
    devices = {device_of(path) for path in arguments.measured} or {made["device"]}
    origin = {"code (git commit)": made["git_commit"], "device": ", ".join(sorted(devices))} | made["versions"]
    write_json(arguments.config, config)
    columns = dictionary((path.stem, read_schema(path).names) for path in arguments.tables)
    with atomic_path(arguments.dictionary) as temporary:
        columns.to_csv(temporary, index=False, lineterminator="\n")
    write_text(arguments.html, page(config, origin, run_times(arguments.benchmarks), columns))


def device_of(path: Path) -> str:
    """The device that a coherence.h5 was measured on."""
    with open_hdf5(path, COHERENCE_SCHEMA) as file:
        return str(file.attrs["device"])


def run_times(folder: Path) -> pd.DataFrame:
    """One row per rule: jobs, total_s and longest_s (wall time, seconds), peak_mb (largest resident memory, MB).

    Memory is sampled about once a second: that of shorter jobs is unknown, NaN. The files are Snakemake's benchmarks,
    in one folder or one file per rule.
    """
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        record = pd.read_csv(path, sep="\t", na_values="-")
        seconds, peak = record["s"].sum(), record["max_rss"].max()
        rows.append({"rule": rule, "seconds": seconds, "peak_mb": peak if seconds >= 1 else float("nan")})
    times = pd.DataFrame(rows, columns=["rule", "seconds", "peak_mb"]).groupby("rule")
    return pd.DataFrame(
        {
            "jobs": times.size(),
            "total_s": times["seconds"].sum(),
            "longest_s": times["seconds"].max(),
            "peak_mb": times["peak_mb"].max(),
        }
    ).reset_index()


def page(config: dict[str, object], origin: dict[str, str], times: pd.DataFrame, columns: pd.DataFrame) -> str:
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
        f"<pre>{html.escape(json.dumps(config, indent=2, sort_keys=True))}</pre></body></html>\n"
    )


def _megabytes(peak: Any) -> str:
    return "–" if math.isnan(peak) else f"{peak:.0f}"


if __name__ == "__main__":
    run(main)
