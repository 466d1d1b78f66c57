"""Check the papers' claims: tables -> claims.json and a table for the report."""

import html
from dataclasses import asdict
from typing import Any

import pandas as pd

from mcoherence.claims.identities import IDENTITIES, Identity
from mcoherence.claims.intervals import Interval
from mcoherence.claims.registry import claims_of
from mcoherence.claims.testing import Claim, ClaimSettings, Part, check_claims
from mcoherence.files.provenance import provenance
from mcoherence.files.storage import write_json, write_text
from workflow_scripts.command_line import parse, run

STYLE = """body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem;max-width:80rem;color:#222}
table{border-collapse:collapse;width:100%;margin:0 0 1.5rem}th,td{border-bottom:1px solid #ccc;padding:.35rem .6rem;
text-align:left;vertical-align:top}td.number{white-space:nowrap;font-variant-numeric:tabular-nums}
.supported{color:#00604a;font-weight:600}.not-supported{color:#9c3d00;font-weight:600}
.inconclusive{color:#555;font-weight:600}.reported{color:#555}.not-tested{color:#777}
summary{cursor:pointer}"""


def main() -> None:
    """Test every claim of a folder's modules on the tables and write both forms of the outcome."""
    arguments = parse(__doc__, words=["package"], paths=["json", "html"], path_lists=["tables"])
    tables = {path.stem: pd.read_parquet(path) for path in arguments.tables}
    claims = check_claims(tables, ClaimSettings(**arguments.settings), claims_of(arguments.package))
    origin = provenance(arguments.settings, arguments.tables)
    content = {
        "schema": "mcoherence/claims/2",
        "claims": [as_json(claim) for claim in claims],
        "identities": [{**asdict(identity), "level": "I"} for identity in IDENTITIES],
        "provenance": origin,
    }
    write_json(arguments.json, content)
    write_text(arguments.html, as_html(claims, arguments.settings["confidence"]))
    for claim in claims:
        print(f"{claim.id}: {claim.verdict}")


def as_json(claim: Claim) -> dict[str, Any]:
    """One claim: its verdict, the value and intervals of the part that decides it, what is missing, and all parts."""
    decisive = claim.decisive
    return {
        "id": claim.id,
        "statement": claim.statement,
        "source": claim.source,
        "level": claim.level,
        "statistic": claim.statistic,
        "verdict": claim.verdict,
        "where": decisive.where if decisive else None,
        "value": decisive.value if decisive else None,
        "interval": decisive.interval if decisive else None,
        "t_interval": decisive.t_interval if decisive else None,
        "missing": claim.missing,
        "diverged": claim.diverged,
        "num_seeds": len(decisive.values) if decisive else 0,
        "parts": [
            {
                "where": part.where,
                "value": part.value,
                "interval": part.interval,
                "t_interval": part.t_interval,
                "values_by_seed": part.values,
                "verdict": part.verdict,
            }
            for part in claim.parts
        ],
    }


def as_html(claims: list[Claim], confidence: float) -> str:
    """The claims as one HTML page that needs nothing else: a summary row each, parts and exact identities below."""
    diverged = sorted({run for claim in claims for run in claim.diverged})
    left_out = f"<p>Left out, because they diverged: {html.escape('; '.join(diverged))}.</p>" if diverged else ""
    rows = "".join(_summary_row(claim) for claim in claims)
    details = "".join(_details(claim) for claim in claims if claim.parts)
    explanation = (
        "Every statistic is positive where the claim holds. Value and intervals are of the part that decides the "
        f"verdict: a paired percentile bootstrap over seeds ({confidence:.0%}; all resamples of up to eight seeds) and "
        "Student's t beside it, because the bootstrap of a few seeds is too narrow: of three normal values a 95% "
        "interval covers the mean in 75% of cases, of five in 84%, of ten in 90%. Both are widened by the spacing of "
        "the checkpoints where a time is read off them, and are of rounding alone where the statistic is exact. A "
        "claim is supported only where both intervals of all parts are positive. Level II is what the papers assert; "
        "level III is not known to be published, so it is reported without a verdict, as is what is said of larger "
        "images only. A claim that the study has no runs for is not tested, and says what it would need. The verdicts "
        "concern this study's data and networks."
    )
    intervals = [f"{confidence:.0%} interval over seeds, {kind}" for kind in ("bootstrap", "Student's t")]
    header = _row("th", "Claim", "Sentence", "Paper", "Level", "Statistic", "Value", *intervals, "Verdict")
    return (
        f"<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>Claims</title><style>{STYLE}</style></head>"
        f"<body><h1>The papers' claims, tested on this study</h1><p>{explanation}</p>{left_out}"
        f"<table><thead>{header}</thead><tbody>{rows}</tbody></table>"
        f"<h2>All parts</h2>{details}{_identities(IDENTITIES)}</body></html>\n"
    )


def _row(tag: str, *cells: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"


def _summary_row(claim: Claim) -> str:
    decisive = claim.decisive
    where = f"<br><small>{html.escape(claim.missing or (decisive.where if decisive else ''))}</small>"
    return (
        f"<tr><td>{claim.id}</td><td>{html.escape(claim.statement)}</td><td>{html.escape(claim.source)}</td>"
        f"<td>{claim.level}</td><td>{html.escape(claim.statistic)}{where}</td>{_numbers(decisive)}"
        f"{_verdict(claim.verdict)}</tr>"
    )


def _details(claim: Claim) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(part.where)}</td>{_numbers(part)}{_verdict(part.verdict)}</tr>" for part in claim.parts
    )
    return (
        f"<details><summary>{claim.id}, number of parts: {len(claim.parts)}</summary><table><thead>"
        f"{_row('th', 'Where', 'Value', 'Bootstrap', 'Student&#x27;s t', 'Verdict')}</thead>"
        f"<tbody>{rows}</tbody></table></details>"
    )


def _identities(identities: tuple[Identity, ...]) -> str:
    rows = "".join(
        _row("td", one.id, html.escape(one.statement), html.escape(one.source), "I", f"<code>{one.test}</code>")
        for one in identities
    )
    return (
        "<h2>Exact identities</h2><p>Level I: these hold to rounding on any data, and the tests of the code that are "
        f"named check them.</p><table><thead>{_row('th', 'Identity', 'Sentence', 'Paper', 'Level', 'Test')}</thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _numbers(part: Part | None) -> str:
    if part is None or part.value is None or part.interval is None or part.t_interval is None:
        return 3 * "<td class='number'>–</td>"
    cells = (f"{part.value:+.3f}", _interval(part.interval), _interval(part.t_interval))
    return "".join(f"<td class='number'>{cell}</td>" for cell in cells)


def _interval(interval: Interval) -> str:
    return f"[{interval[0]:+.3f}, {interval[1]:+.3f}]"


def _verdict(verdict: str) -> str:
    return f"<td class='{verdict.replace(' ', '-')}'>{verdict}</td>"


if __name__ == "__main__":
    run(main)
