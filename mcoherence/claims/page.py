"""The outcome of the claims for programs and for people: claims.json, and one HTML page, whose digest that holds."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mcoherence.claims.identities import IDENTITIES
from mcoherence.claims.intervals import Interval
from mcoherence.claims.stored import SCHEMA
from mcoherence.claims.testing import Claim, Part
from mcoherence.files.atomic import write_text
from mcoherence.files.digests import sha256_of
from mcoherence.files.json_csv import write_sealed_json
from mcoherence.files.page import html_page
from mcoherence.files.provenance import Provenance

PAGE = """\
{% extends "frame" %}
{% macro numbers(part) %}
{% for text in cells(part) %}<td class="number">{{ text }}</td>{% endfor %}
{% endmacro %}
{% macro verdict(of) %}<td class="{{ of.verdict | replace(" ", "-") }}">{{ of.verdict }}</td>{% endmacro %}
{% block title %}Claims{% endblock %}
{% block body %}
<h1>The papers' claims, tested on this study</h1>
<p>Every statistic is positive where the claim holds. Value and intervals are of the part that decides the verdict: a
paired percentile bootstrap over seeds ({{ confidence }}; all resamples of up to eight seeds) and Student's t beside it,
because the bootstrap of a few seeds is too narrow: of three normal values a 95% interval covers the mean in 75% of
cases, of five in 84%, of ten in 90%. Both are widened by the spacing of the checkpoints where a time is read off them,
and are of rounding alone where the statistic is exact. A claim is supported only where both intervals of all parts are
positive. Level II is what the papers assert; level III is not known to be published, so it is reported without a
verdict, as is what is said of larger images only. A claim that the study has no runs for is not tested, and says what
it would need. The verdicts concern this study's data and networks.</p>
{% if diverged %}
<p>Left out, because they diverged: {{ diverged | join("; ") }}.</p>
{% endif %}
<table>
<thead>
<tr><th>Claim</th><th>Sentence</th><th>Paper</th><th>Level</th><th>Statistic</th><th>Value</th>
<th>{{ confidence }} interval over seeds, bootstrap</th><th>{{ confidence }} interval over seeds, Student's t</th>
<th>Verdict</th></tr>
</thead>
<tbody>
{% for claim in claims %}
<tr><td>{{ claim.id }}</td><td>{{ claim.statement }}</td><td>{{ claim.source }}</td><td>{{ claim.level }}</td>
<td>{{ claim.statistic }}<br><small>{{ claim.missing or claim.decisive.where }}</small></td>
{{ numbers(claim.decisive) }}{{ verdict(claim) }}</tr>
{% endfor %}
</tbody>
</table>
<h2>All parts</h2>
{% for claim in claims if claim.parts %}
<details>
<summary>{{ claim.id }}, number of parts: {{ claim.parts | length }}</summary>
<table>
<thead><tr><th>Where</th><th>Value</th><th>Bootstrap</th><th>Student's t</th><th>Verdict</th></tr></thead>
<tbody>
{% for part in claim.parts %}
<tr><td>{{ part.where }}</td>{{ numbers(part) }}{{ verdict(part) }}</tr>
{% endfor %}
</tbody>
</table>
</details>
{% endfor %}
<h2>Exact identities</h2>
<p>Level I: these hold to rounding on any data, and the tests of the code that are named check them.</p>
<table>
<thead><tr><th>Identity</th><th>Sentence</th><th>Paper</th><th>Level</th><th>Test</th></tr></thead>
<tbody>
{% for one in identities %}
<tr><td>{{ one.id }}</td><td>{{ one.statement }}</td><td>{{ one.source }}</td><td>I</td>
<td><code>{{ one.test }}</code></td></tr>
{% endfor %}
</tbody>
</table>
{% endblock %}
"""


def write_claims(path: Path, page: Path, claims: Sequence[Claim], confidence: float, origin: Provenance) -> None:
    """Write the outcome as JSON, with a seal, and as a page.

    Args:
        path: of claims.json.
        page: of claims.html.
        claims: as `check_claims` returns them.
        confidence: level of the intervals.
        origin: what they were worked out from.
    """
    write_text(page, claims_page(claims, confidence))
    content = {
        "schema": SCHEMA,
        "claims": [as_json(claim) for claim in claims],
        "identities": [{**asdict(identity), "level": "I"} for identity in IDENTITIES],
        "provenance": origin.as_attributes(),
        "page_sha256": sha256_of(page),
    }
    write_sealed_json(path, content)


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


def claims_page(claims: Sequence[Claim], confidence: float) -> str:
    """The claims as one page: a summary row each, and below them all parts and the exact identities."""
    return html_page(
        PAGE,
        claims=claims,
        identities=IDENTITIES,
        confidence=f"{confidence:.0%}",
        diverged=sorted({run for claim in claims for run in claim.diverged}),
        cells=cells,
    )


def cells(part: Part | None) -> tuple[str, str, str]:
    """Value, bootstrap interval and Student's interval of a part as the page shows them; dashes where it has none."""
    if part is None or part.value is None or part.interval is None or part.t_interval is None:
        return "–", "–", "–"
    return f"{part.value:+.3f}", _as_text(part.interval), _as_text(part.t_interval)


def _as_text(interval: Interval) -> str:
    return f"[{interval[0]:+.3f}, {interval[1]:+.3f}]"
