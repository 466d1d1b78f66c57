"""The text of the page, its look and its script; `mcoherence.front_page.page` fills it.

Text in a module and no file of its own, so that the digest of the code holds it. The page asks no server for anything:
its policy forbids it, and the charts' code and data are inside.
"""

STYLE = """\
:root { --line: #d0d0d0; --soft: #f6f7f8; --link: #005a9c }
body { max-width: 90rem; margin: 0 auto; padding: 0 1.2rem 4rem }
a { color: var(--link) }
h1 { font-size: 1.7rem; margin: .8rem 0 .2rem }
h2 { font-size: 1.3rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem }
h3 { font-size: 1.05rem; margin: 0 0 .3rem }
nav { position: sticky; top: 0; background: #fff; z-index: 5; padding: .45rem 0; border-bottom: 1px solid var(--line);
  display: flex; flex-wrap: wrap; gap: .2rem 1rem }
.facts { color: #444; margin: .1rem 0 .6rem }
.headline { font-size: 1.25rem; font-weight: 600; margin: .3rem 0 .8rem }
.first { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 6fr); gap: 1rem 2rem; align-items: start }
.first.alone { grid-template-columns: minmax(0, 1fr) }
.pictures { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: .6rem 1.2rem }
.vega-bindings:empty { display: none }
.chart { width: 100%; min-width: 0; overflow-x: auto }
.under { text-align: center; color: #444; font-size: .85rem; margin: -.2rem 0 .4rem }
form.choices { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .5rem .8rem;
  display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; align-items: center; font-size: .9rem }
fieldset { border: 0; padding: 0; margin: 0; display: flex; flex-wrap: wrap; gap: .2rem .7rem; align-items: center }
legend { float: left; margin-right: .5rem; color: #444 }
label { white-space: nowrap }
select { font: inherit; max-width: min(32rem, 100%) }
.sample { width: 34px; height: 10px; margin: 0 .15rem; vertical-align: 0 }
label:has(:disabled) { color: #767676 }
label small { color: #555 }
.none { margin: .2rem 0; color: #9c3d00; font-weight: 600 }
.none:empty { display: none }
:focus-visible { outline: 3px solid #E69F00; outline-offset: 2px }
figure { margin: 0 0 2rem; display: grid; grid-template-columns: minmax(0, 3fr) minmax(14rem, 2fr); gap: .5rem 1.5rem;
  align-items: start }
figure img { max-width: 100%; max-height: 88vh; height: auto; object-fit: contain; border: 1px solid var(--line) }
figcaption { font-size: .9rem }
figcaption p { margin: .3rem 0 }
.files { font-size: .85rem }
.wide { overflow-x: auto }
table.claims { width: 100% }
th button { font: inherit; font-weight: 600; background: none; border: 0; padding: 0; cursor: pointer; color: inherit;
  text-align: left }
th[aria-sort=ascending] button::after { content: " \\2191" }
th[aria-sort=descending] button::after { content: " \\2193" }
.key { font-size: .85rem; color: #444; margin: .2rem 0 .6rem }
.sr { position: absolute; left: -99rem }
@media (max-width: 60rem) { nav { position: static }
  .first, .pictures, figure { grid-template-columns: minmax(0, 1fr) } }
@media (max-width: 40rem) {
  body { padding: 0 .7rem 3rem }
  label { white-space: normal }
  table.claims, table.claims tbody, table.claims td { display: block }
  table.claims thead { display: block }
  table.claims thead tr { display: flex; flex-wrap: wrap; gap: .2rem .9rem }
  table.claims thead th { border: 0; padding: .2rem 0 }
  table.claims tbody tr { display: flex; flex-direction: column;
    border-bottom: 1px solid var(--line); padding: .5rem 0 }
  table.claims td { border: 0; padding: .1rem 0; overflow-wrap: anywhere }
  table.claims td.verdict { order: -1 } }
@media print { nav, form.choices, .vega-bindings { display: none } }
"""

PAGE = """\
{% extends "frame" %}
{% macro verdict(of) %}<span class="{{ of | replace(" ", "-") }}">{{ of }}</span>{% endmacro %}
{% macro choice(name, label, options, chosen="") %}
<label>{{ label }} <select name="{{ name }}">
{% for option in options %}<option{{ " selected" if option == chosen }}>{{ option }}</option>{% endfor %}
</select></label>
{% endmacro %}
{% macro chart(name) %}
<div class="chart" data-chart="{{ name }}" role="group" aria-label="{{ described[name] }}" tabindex="0"></div>
<p class="none" data-none="{{ name }}" role="status"></p>
{% endmacro %}
{% macro boxes(name, label, options, chosen) %}
<fieldset><legend>{{ label }}</legend>
{% for option in options %}
<label><input type="checkbox" name="{{ name }}" value="{{ option }}"{{ " checked" if option in chosen }}>
<svg class="sample" data-look="{{ option }}" viewBox="0 0 34 10" aria-hidden="true"><line x2="34" y1="5" y2="5"/></svg>
{{ option }}{% if name == "optimizers" and option in notes %} <small>({{ notes[option] }})</small>{% endif %}</label>
{% endfor %}
</fieldset>
{% endmacro %}
{% block title %}{{ study }}: gradient coherence{% endblock %}
{% block head %}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:; style-src 'unsafe-inline';
 script-src 'unsafe-inline' 'unsafe-eval'; base-uri 'none'; form-action 'none'">
<style>{{ style }}
{% for name, color in verdict_colors.items() %}
.{{ name | replace(" ", "-") }} { color: {{ color }} }
{% endfor %}
</style>
{% endblock %}
{% block body %}
<header>
<h1>{{ study | replace("_", " ") }}</h1>
<p class="facts">{{ facts | join(" · ") }}</p>
</header>
<nav aria-label="Sections">
{% for section in sections %}<a href="#{{ section.id }}">{{ section.title }}</a>{% endfor %}
<a href="#claims">All claims</a> <a href="#files">Files</a>
</nav>
<main>
<p class="headline">{{ headline }}</p>
{% if measured %}
<p class="key"><dfn>m-coherence</dfn>: what a small step along one example's gradient takes off the losses of all
{{ measured }} measured examples, in units of what it takes off its own; 1: nothing for the others in sum.</p>
{% endif %}
<div class="first{{ "" if forests else " alone" }}">
<section aria-label="Tested claims">
{% if forests %}
<p class="key">{{ verdict("supported") }} ● &nbsp; {{ verdict("not supported") }} ✚ &nbsp;
{{ verdict("inconclusive") }} ◆ &nbsp; Ticks: every place looked at, by its own verdict. Mark and line: the place that
decides the claim, with its {{ confidence }} interval over seeds. Grey: what to expect there where there is no effect;
none where a claim states a level.
At the right: in how many places the claim holds. A click on a row leads to its line in the table of claims.</p>
{% for name, (words, zero) in forests.items() %}
{{ chart(name) }}
<p class="under">{{ words }}; right of {{ zero }} speaks for the claim; it is supported where the whole line is right of
{{ zero }} and the mark beyond grey</p>
{% endfor %}
{% if caution %}
<p class="key">{{ caution }}</p>
{% endif %}
{% if undrawn %}
<p class="key">No mark, for the place that decides has no number: {{ undrawn | join(", ") }}.</p>
{% endif %}
{% else %}
<p>No claim has a number to draw.</p>
{% endif %}
</section>
{% if curves %}
<section aria-label="Along training">
<form class="choices" >
{{ choice("network", "Network", networks, network) }}
{{ boxes("labels", "Labels", label_sets, label_sets) }}
{{ boxes("optimizers", "Optimisers", optimizers, [reference]) }}
<fieldset><legend>Colour shows</legend>
<label><input type="radio" name="hue_by" value="labels" checked> labels</label>
<label><input type="radio" name="hue_by" value="optimizer"> optimisers</label></fieldset>
<fieldset><legend>Across</legend>
<label><input type="radio" name="x" value="step" checked> step</label>
<label><input type="radio" name="x" value="epoch"> epoch</label>
<label><input type="radio" name="x" value="loss"> training loss</label></fieldset>
<label><input type="checkbox" name="xlog" checked> logarithmic across</label>
<label><input type="checkbox" name="ylog" checked> logarithmic up</label>
<label><input type="checkbox" name="bands"{{ " checked" if bands }}> intervals</label>
<label><input type="checkbox" name="seeds"{{ "" if bands else " checked" }}{{ " disabled" if means_alone }}>
single seeds</label>
</form>
<div class="pictures">
{% if "coherence" in curves %}
<div><h3>m-coherence</h3>
{{ choice("coherence_of", "of", coherence_of) }}
{{ chart("coherence") }}<p class="under" data-across></p></div>
{% endif %}
{% if "accuracy" in curves %}
<div><h3>accuracy</h3>
{{ choice("accuracy_of", "on", accuracy_of) }}
{{ chart("accuracy") }}<p class="under" data-across></p></div>
{% endif %}
</div>
<p class="key">{% for name in (coherence_of + accuracy_of) | unique if name in groups %}
<b>{{ name }}</b>: {{ groups[name] }}{{ "." if loop.last else "; " }}{% endfor %}</p>
<p class="key">Point near a line for its values; drag to move, turn the wheel with Ctrl or Shift held to zoom,
double-click to go back. Lines are means over seeds (geometric ones of m-coherence), dashes tell apart what colour does
not.{% if means_alone %} The study has more than {{ "{:,}".format(most_rows) }} rows to draw, so that single seeds are
in its tables alone.{% endif %}</p>
</section>
{% endif %}
</div>
{% if "layers" in curves %}
<h2 id="layers">Layer by layer</h2>
<p>Each row is a layer, from the input down to the output, each column a checkpoint; the colour is the geometric mean
over seeds of the layer's m-coherence. Network and labels are chosen above.</p>
<form class="choices" >{{ choice("map_optimizer", "Optimiser", optimizers, reference) }}</form>
{{ chart("layers") }}
{% endif %}
{% if "equal_fit" in curves %}
<h2 id="equal-fit">Memorisation at equal fit</h2>
<p>How many of the corrupt labels a network has fitted when it has fitted so many of the pristine ones. A line below
another memorises less for what it has learned; one that is only slower does not lie lower here.</p>
<div style="max-width: 45rem">{{ chart("equal_fit") }}</div>
{% endif %}
{% for section in figure_sections %}
<h2 id="{{ section.id }}">{{ section.title }}</h2>
{% for figure in section.figures %}
<figure id="figure-{{ figure.name }}">
<a href="{{ figure.pdf }}"><img src="{{ figure.image }}" alt="{{ figure.title }}" loading="lazy"></a>
<figcaption><h3>{{ figure.title }}</h3>
{{ figure.caption }}
{% if figure.more %}
<details><summary>more</summary>{{ figure.more }}</details>
{% endif %}
<p class="files">Files: <a href="{{ figure.pdf }}">PDF</a>, <a href="{{ figure.png }}">PNG</a>
{% for table in figure.tables %}; {{ table }}: <a href="tables/{{ table }}.csv">CSV</a>,
<a href="tables/{{ table }}.parquet">Parquet</a>{% endfor %}</p></figcaption>
</figure>
{% endfor %}
{% endfor %}
<h2 id="claims">All claims</h2>
{% macro rows(of) %}
{% for claim in of %}
<tr id="claim-{{ claim.id }}"><td data-sort="{{ claim.order }}">{{ claim.id }}</td>
<td>{{ claim.statement }}<br><small>{{ claim.source }}</small></td>
<td>{{ claim.finding }}</td>
<td class="verdict" data-sort="{{ claim.rank }}">{{ verdict(claim.verdict) }}{% if claim.tie %}<br>
<small>a tie</small>{% endif %}</td>
<td>{% if claim.figure %}<a href="#figure-{{ claim.figure }}">figure</a>{% endif %}</td></tr>
{% endfor %}
{% endmacro %}
{% macro claims_table(of) %}
<div class="wide" tabindex="0" role="region" aria-label="Claims"><table class="claims"><thead><tr>
{% for name in ("Claim", "Sentence", "What this study found", "Verdict") %}
<th><button type="button">{{ name }}</button></th>{% endfor %}<th><span class="sr">Figure</span></th></tr></thead>
<tbody>{{ rows(of) }}</tbody></table></div>
{% endmacro %}
<p>Values are of the place that decides; intervals are Student's t over seeds. Thresholds, nulls and every single part
are in <a href="claims.html">claims.html</a>.</p>
{{ claims_table(tested) }}
{% if reported %}
<details><summary>Measured without a verdict: {{ reported | length }}</summary>{{ claims_table(reported) }}</details>
{% endif %}
{% if untested %}
<details><summary>Not tested by this study: {{ untested | length }}</summary>{{ claims_table(untested) }}</details>
{% endif %}
<h2 id="files">Files and provenance</h2>
<p>This page was made from the study's tables and claims, which Snakemake's
<a href="report.html">report</a> shows with the code, settings and run times of every job;
<a href="study.html">study.html</a> has versions, data and the meaning of every column. What is open here opens offline:
the page holds all that it shows, and links lead to files beside it.</p>
<ul>
<li><a href="claims.html">claims.html</a>, <a href="claims.json">claims.json</a></li>
<li><a href="config.json">config.json</a>: the settings</li>
<li><a href="tables/dictionary.csv">tables/dictionary.csv</a>: the columns of
{% for table in tables %}<a href="tables/{{ table }}.csv">{{ table }}</a>{{ ", " if not loop.last }}{% endfor %}</li>
</ul>
</main>
<script type="application/json" id="content">{{ content }}</script>
<script type="module">
{{ library }}
{{ script }}
</script>
{% endblock %}
"""

SCRIPT = """\
const { charts, tables, colors, dashes, across } = JSON.parse(document.getElementById("content").textContent);
const unpacked = packed => {
  const names = Object.keys(packed);
  const column = of => of.codes ? of.codes.map(code => of.names[code]) : of;
  const columns = names.map(name => column(packed[name]));
  return (columns[0] ?? []).map((_, row) => Object.fromEntries(names.map((name, at) => [name, columns[at][row]])));
};
const rows = Object.fromEntries(Object.entries(tables).map(([name, packed]) => [name, unpacked(packed)]));
const boxes = new Set(["labels", "optimizers"]);
const chosen = () => {
  const choices = {};
  for (const box of document.querySelectorAll("form.choices :is(select, input), .pictures select")) {
    if (boxes.has(box.name)) choices[box.name] ??= [];
    if (box.disabled && boxes.has(box.name)) continue;
    if (box.tagName === "SELECT") choices[box.name] = box.value;
    else if (box.type === "radio") { if (box.checked) choices[box.name] = box.value; }
    else if (boxes.has(box.name)) { if (box.checked) choices[box.name].push(box.value); }
    else choices[box.name] = box.checked;
  }
  return choices;
};
const trained = Object.fromEntries(["labels", "optimizer", "mapped"].map(kind => [kind, new Set()]));
for (const [table, all] of Object.entries(rows)) for (const row of all) if (row.network !== undefined) {
  for (const kind of ["labels", "optimizer"]) trained[kind].add(row.network + " | " + row[kind]);
  if (table === "layers") trained.mapped.add(row.network + " | " + row.optimizer);
}
const offer = network => {
  const has = (kind, name) => trained[kind].has(network + " | " + name);
  for (const box of document.querySelectorAll("[name=labels], [name=optimizers]")) {
    box.disabled = !has(box.name === "labels" ? "labels" : "optimizer", box.value);
    box.closest("label").title = box.disabled ? "no such runs of this network" : "";
  }
  const map = document.querySelector("[name=map_optimizer]");
  for (const option of map?.options ?? []) option.disabled = !has("mapped", option.value);
  if (map?.selectedOptions[0]?.disabled) {
    const other = [...map.options].find(option => !option.disabled);
    if (other) map.value = other.value;
  }
};
const pick = () => {  // another network, which may have none of what is chosen: something of it is shown
  for (const name of boxes) {
    const offered = [...document.querySelectorAll(`[name=${name}]`)].filter(box => !box.disabled);
    if (offered.length && !offered.some(box => box.checked)) offered[0].checked = true;
  }
};
const drawn = (table, choices) => rows[table].some(row => row.network === choices.network
  && choices.labels.includes(row.labels)
  && (table === "layers" ? row.optimizer === choices.map_optimizer : choices.optimizers.includes(row.optimizer))
  && (table === "layers" || table === "equal_fit" || row.of === choices[table + "_of"]));
const missing = choices => [...boxes].every(name => choices[name].length)
  ? "no such runs" : "choose labels and optimisers";
const views = [];
const show = async () => {
  const network = document.querySelector("[name=network]");
  if (network) offer(network.value);
  const choices = chosen();
  for (const place of document.querySelectorAll("[data-across]")) place.textContent = across[choices.x];
  for (const sample of document.querySelectorAll("[data-look]")) {
    const kind = sample.closest("label").querySelector("input").name === "labels" ? "labels" : "optimizer";
    const line = sample.querySelector("line"), name = sample.dataset.look, hued = kind === choices.hue_by;
    line.setAttribute("stroke", hued ? colors[kind][name] : "#404040");
    line.setAttribute("stroke-width", hued ? 6 : 2.2);
    line.setAttribute("stroke-dasharray", hued ? "none" : dashes[kind][name].join(" "));
  }
  for (const place of document.querySelectorAll("[data-none]")) {
    const table = place.dataset.none;
    place.textContent = rows[table]?.[0]?.network === undefined || drawn(table, choices) ? "" : missing(choices);
  }
  for (const view of views) {
    for (const [name, value] of Object.entries(choices)) {
      try { view.signal(name, value); } catch { /* a chart that has no such choice */ }
    }
    await view.resize().runAsync();
  }
};
for (const place of document.querySelectorAll("[data-chart]")) {
  const spec = charts[place.dataset.chart];
  if (spec.facet) {  // side by side as many as there is room for
    spec.spec.width = Math.max(120, Math.min(240, place.clientWidth - 250));
    spec.columns = Math.max(1, Math.min(3, Math.floor((place.clientWidth - 200) / (spec.spec.width + 20))));
    if (place.clientWidth < 420) spec.config.legend = { orient: "bottom" };
  }
  const actions = { export: true, source: false, compiled: false, editor: false };
  const { view } = await vegaEmbed(place, spec, { actions, renderer: "canvas" });
  const wanted = new Set(JSON.stringify(spec).match(/"name":"[a-z_]+"/g).map(text => text.slice(8, -1)));
  for (const name of wanted) if (rows[name]) view.data(name, rows[name]);
  const menu = place.querySelector("details summary");
  menu?.setAttribute("aria-label", `Save the chart: ${spec.description}`);
  views.push(view);
}
document.querySelector("[name=network]")?.addEventListener("input", event => { offer(event.target.value); pick(); });
for (const form of document.querySelectorAll("form.choices")) form.addEventListener("input", show);
document.querySelector(".pictures")?.addEventListener("input", show);
await show();
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0], column = head.cellIndex;
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => row.cells[column].dataset.sort ?? row.cells[column].textContent;
  const sorted = [...body.rows].sort((a, b) => key(a).localeCompare(key(b), undefined, { numeric: true }));
  body.append(...(down ? sorted.reverse() : sorted));
});
document.documentElement.dataset.ready = "yes";
"""
