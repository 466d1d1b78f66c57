"""The outcome of the claims for programs and for people: claims.json, and one HTML page, whose digest that holds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mcoherence.claims.identities import IDENTITIES
from mcoherence.claims.intervals import Interval
from mcoherence.claims.measured import rates_in_words
from mcoherence.claims.settings import MEANINGS, ClaimSettings
from mcoherence.claims.stored import SCHEMA
from mcoherence.claims.testing import Claim
from mcoherence.claims.verdicts import Part
from mcoherence.data.store import SourceOrigin
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
{% macro verdict(of, reason) %}<td><span class="{{ of.verdict | replace(" ", "-") }}">{{ of.verdict }}</span>
{% if reason %}<br><small>{{ reason }}</small>{% endif %}</td>{% endmacro %}
{% macro sketch(part) %}<td>
{% set drawn = part_on_axis(part) %}
{% if drawn %}
<svg width="120" height="16" role="img" aria-label="null as a band, Student's interval as a line, value as a dot">
{% if drawn.null %}
<rect x="{{ drawn.null[0] }}" width="{{ drawn.null[1] }}" y="2" height="12" fill="#cfd8dc"/>
{% endif %}
<line x1="{{ drawn.zero }}" x2="{{ drawn.zero }}" y1="0" y2="16" stroke="#888" stroke-dasharray="2 2"/>
<line x1="{{ drawn.low }}" x2="{{ drawn.high }}" y1="8" y2="8" stroke="#222" stroke-width="1.5"/>
<circle cx="{{ drawn.value }}" cy="8" r="3" fill="#0072B2"/>
</svg>
{% endif %}
</td>{% endmacro %}
{% macro summary(claims, source) %}
<table>
<thead>
<tr><th>Claim</th><th>Sentence</th><th>{{ source }}</th><th>Level</th><th>Statistic</th><th>Value</th>
<th>{{ confidence }} interval over seeds, bootstrap</th><th>{{ confidence }} interval over seeds, Student's t</th>
<th>Null</th><th>Detectable</th><th>Verdict</th></tr>
</thead>
<tbody>
{% for claim in claims %}
<tr><td>{{ claim.id }}</td><td>{{ claim.statement }}</td><td>{{ claim.source }}</td><td>{{ claim.level }}</td>
<td>{{ claim.statistic }}<br><small>{{ claim.missing or claim.decisive.where }}</small></td>
{{ numbers(claim.decisive) }}{{ verdict(claim, claim.decisive.reason if claim.decisive else "") }}</tr>
{% endfor %}
</tbody>
</table>
{% endmacro %}
{% block title %}Claims{% endblock %}
{% block body %}
<h1>The papers' claims, tested on this study</h1>
<p>Every statistic is positive where the claim holds. Value and intervals are of the part that decides the verdict: a
paired percentile bootstrap over seeds ({{ confidence }}; all resamples of up to eight seeds) and Student's t beside it,
because the bootstrap of a few seeds is too narrow: of three normal values a 95% interval covers the mean in 75% of
cases, of five in 84%, of ten in 90%. Both are widened by the spacing of the checkpoints where a time is read off them,
and are of rounding alone where the statistic is exact. The null says what the statistic gives where there is nothing to
find: equal conditions, shuffled tags, untrained networks; the rule stands with each part.</p>
<p>A claim is supported only where of all its parts both intervals are above 0 and the value is above the null, whose
lower end may not be above 0 too. It is not supported where of one part both intervals are below minus the margin and
below what the null expects, and the value below the null, at a level corrected for the number of parts (Holm); where a
claim states a level, the null is not asked. A difference within the margin, one between values that are all at the
ceiling or the floor, and what nothing to find gives too, decide nothing. Level II is what the papers assert; level III
is not known to be published, so it is reported without a verdict, as is what is said of larger images only. A claim
that the study has no runs for is not tested, and says what it would need. The verdicts concern this study's data and
networks.</p>
<p>Detectable is the smallest effect that a study with so many seeds of this spread finds in 80% of cases: a claim may
be open only because the study is too small for its effect. {{ cover }}</p>
{% if data %}
<p>Data, and whether checksums show that they are what was published:
{% for name, of in data.items() %}
{% set answer = of.published or "no files are published for this source" %}
{{ name }} ({{ of.train }} training and {{ of.test }} test images of {{ of.source }}): {{ answer }}
{{- "." if loop.last else ";" }}
{% endfor %}
</p>
{% endif %}
{% if diverged %}
<p>Left out, because they diverged: {{ diverged | join("; ") }}.</p>
{% endif %}
{{ summary(claims | rejectattr("level", "equalto", "own"), "Paper") }}
<h2>Statements of this project</h2>
<p>No paper makes these. Level own: statistic and thresholds stand in the code and in the study's settings, and a
verdict follows by the same rules. It supports or refutes no paper.</p>
{{ summary(claims | selectattr("level", "equalto", "own"), "Source") }}
<h2>All parts</h2>
<p>In each drawing the null is the band, Student's interval the line, the value the dot, 0 the dashed line.</p>
{% for claim in claims if claim.parts %}
<details>
<summary>{{ claim.id }}, number of parts: {{ claim.parts | length }}</summary>
<table>
<thead><tr><th>Where</th><th>Value</th><th>Bootstrap</th><th>Student's t</th><th>Null</th><th>Detectable</th>
<th>Verdict</th><th></th><th>Rule of the null</th><th>Margin</th><th>Learning rates</th></tr></thead>
<tbody>
{% for part in claim.parts %}
<tr><td>{{ part.where }}{% if part.note %}<br><small>{{ part.note }}</small>{% endif %}</td>
{{ numbers(part) }}{{ verdict(part, part.reason) }}{{ sketch(part) }}
<td><small>{{ part.null.rule if part.null else "–" }}</small></td>
<td class="number">{{ "%g" | format(part.margin) }}</td><td>{{ rates(part) }}</td></tr>
{% endfor %}
</tbody>
</table>
</details>
{% endfor %}
<h2>Thresholds</h2>
<p>From the section claims of the study's config, or its defaults.</p>
<table>
<thead><tr><th>Name</th><th>Value</th><th>What it is</th></tr></thead>
<tbody>
{% for name, value in thresholds.items() %}
<tr><td><code>{{ name }}</code></td><td class="number">{{ threshold(value) }}</td><td>{{ meanings[name] }}</td></tr>
{% endfor %}
</tbody>
</table>
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
WIDTH, BORDER = 120, 5  # of a drawing, in pixels
NOTHING = "–"


@dataclass(frozen=True)
class Drawing:
    """Where a part's numbers stand in its drawing, in pixels; null: left edge and width of the band."""

    zero: float
    low: float
    high: float
    value: float
    null: tuple[float, float] | None


def write_claims(
    path: Path,
    page: Path,
    claims: Sequence[Claim],
    settings: ClaimSettings,
    origin: Provenance,
    data: Mapping[str, SourceOrigin] | None = None,
) -> None:
    """Write the outcome as JSON, with a seal, and as a page.

    Args:
        path: of claims.json.
        page: of claims.html.
        claims: as `check_claims` returns them.
        settings: the thresholds that they were tested with.
        origin: what they were worked out from.
        data: data set -> where its images are from; None where there are none, as in a study of toys alone.
    """
    write_text(page, claims_page(claims, settings, data))
    content = {
        "schema": SCHEMA,
        "claims": [as_json(claim) for claim in claims],
        "thresholds": settings.thresholds(),
        "cover": settings.cover,
        "identities": [{**asdict(identity), "level": "I"} for identity in IDENTITIES],
        "data": {name: asdict(of) for name, of in (data or {}).items()},
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
        "short": claim.short,
        "source": claim.source,
        "level": claim.level,
        "statistic": claim.statistic,
        "unit": claim.unit,
        "figure": claim.figure,
        "verdict": claim.verdict,
        "where": decisive.where if decisive else None,
        "value": decisive.value if decisive else None,
        "interval": decisive.interval if decisive else None,
        "t_interval": decisive.t_interval if decisive else None,
        "null": decisive.null.interval if decisive and decisive.null else None,
        "reason": decisive.reason if decisive else None,
        "missing": claim.missing,
        "diverged": claim.diverged,
        "num_seeds": len(decisive.values) if decisive else 0,
        "parts": [_part_as_json(part) for part in claim.parts],
    }


def _part_as_json(part: Part) -> dict[str, Any]:
    return {
        "where": part.where,
        "unit": part.unit,
        "value": part.value,
        "interval": part.interval,
        "t_interval": part.t_interval,
        "null": part.null.interval if part.null else None,
        "null_rule": part.null.rule if part.null else None,
        "margin": part.margin,
        "states_level": part.states_level,
        "detectable": part.detectable,
        "refutation_p": part.refutation_p,
        "rates": {name: asdict(rate) for name, rate in part.rates.items()} if part.rates else None,
        "values_by_seed": part.values,
        "note": part.note,
        "verdict": part.verdict,
        "reason": part.reason,
    }


def claims_page(
    claims: Sequence[Claim], settings: ClaimSettings, data: Mapping[str, SourceOrigin] | None = None
) -> str:
    """The claims as one page: a summary row each, below them all parts, the thresholds and the exact identities."""
    return html_page(
        PAGE,
        claims=claims,
        identities=IDENTITIES,
        thresholds=settings.thresholds(),
        meanings=MEANINGS,
        confidence=f"{settings.confidence:.0%}",
        cover=settings.cover,
        data=data or {},
        diverged=sorted({run for claim in claims for run in claim.diverged}),
        cells=cells,
        part_on_axis=part_on_axis,
        threshold=_threshold,
        rates=lambda part: rates_in_words(part.rates) if part.rates else NOTHING,
    )


def cells(part: Part | None) -> tuple[str, str, str, str, str]:
    """Value, bootstrap and Student's interval, null and detectable effect as the page shows them; dashes for none."""
    if part is None:
        return 5 * (NOTHING,)
    null = _as_text(part.null.interval) if part.null and part.null.interval else NOTHING
    if part.value is None or part.interval is None or part.t_interval is None:
        return NOTHING, NOTHING, NOTHING, null, NOTHING
    effect = NOTHING if part.detectable is None else f"{part.detectable:.3f}"
    return f"{part.value:+.3f}", _as_text(part.interval), _as_text(part.t_interval), null, effect


def part_on_axis(part: Part) -> Drawing | None:
    """The part's numbers on an axis of its own, which holds 0; None where it has none."""
    if part.value is None or part.t_interval is None:
        return None
    null = part.null.interval if part.null else None
    shown = (0.0, part.value, *part.t_interval, *(null or ()))
    start, span = min(shown), (max(shown) - min(shown)) or 1.0

    def at(number: float) -> float:
        return float(round(BORDER + (number - start) / span * (WIDTH - 2 * BORDER), 1))

    # A null of no width is drawn all the same.
    band = (at(null[0]), max(round(at(null[1]) - at(null[0]), 1), 1.0)) if null else None
    return Drawing(at(0.0), at(part.t_interval[0]), at(part.t_interval[1]), at(part.value), band)


def _threshold(value: float | list[float]) -> str:
    """A threshold as the page shows it: a number, or several, a dash for none."""
    return ", ".join(f"{one:g}" for one in (value if isinstance(value, list) else [value])) or NOTHING


def _as_text(interval: Interval) -> str:
    return f"[{interval[0]:+.3f}, {interval[1]:+.3f}]"
