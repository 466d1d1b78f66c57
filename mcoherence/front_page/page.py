"""Everything that the page shows, put together: facts, headline, charts with their tables, figures, claims, files."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from docutils.core import publish_parts
from jinja2 import Environment
from markupsafe import Markup

from mcoherence.figures.style import FigureStyle, readable
from mcoherence.files.page import html_page
from mcoherence.front_page import charts, curves
from mcoherence.front_page.packing import as_script, packed
from mcoherence.front_page.template import PAGE, SCRIPT, STYLE
from mcoherence.front_page.wording import TESTED, finding, headline_of, in_unit, is_tie, range_in_unit
from mcoherence.study.colors import assigned
from mcoherence.study.runs import Config

FEWEST_WITH_BANDS = 4  # seeds; an interval of fewer hides the lines that it is of
ACROSS = {"step": "training step", "epoch": "epoch", "loss": "training loss, which falls to the right"}


@dataclass(frozen=True)
class DrawnFigure:
    """A figure of the study: its name, where it stands, its PNG file, its caption and the tables that it is drawn from.

    caption: reStructuredText, in which `snakemake.config` is the study's config.
    """

    name: str
    section: str
    title: str
    png: Path
    caption: str
    tables: Sequence[str]


def page_of_study(
    config: Config,
    style: FigureStyle,
    claims: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    figures: Sequence[DrawnFigure],
    made: str,
) -> str:
    """The page as HTML that needs no other file.

    Args:
        config: of the study, with all defaults.
        style: what figures share, the colours of optimisers above all.
        claims: what claims.json holds.
        tables: the study's tidy tables by name.
        figures: in the order of the page.
        made: when and by which code, in words.
    """
    drawn = _tables_of_curves(tables, style.confidence)
    names = _names(drawn, curves.label_sets_of(tables), style)
    forests = _forests(claims["claims"])
    content = {
        "charts": _charts(drawn, forests, names),
        "tables": {name: packed(_renamed(table)) for name, table in drawn.items()}
        | {name: packed(table) for name, table in forests.items()},
        "colors": names.colors,
        "across": ACROSS,
    }
    sections = _sections(config, figures)
    own = [{"id": "layers", "title": "Layer by layer"}] * ("layers" in drawn)
    own += [{"id": "equal-fit", "title": "At equal fit"}] * ("equal_fit" in drawn)
    listed = [_row(claim, order, {figure.name for figure in figures}) for order, claim in enumerate(claims["claims"])]
    listed.sort(key=lambda row: row["rank"])
    return html_page(
        PAGE,
        style=Markup(STYLE),
        study=config["study"],
        facts=[*_facts(config, claims, tables), made],
        headline=headline_of(claims["claims"]),
        forests={name: charts.UNITS[name.removeprefix("forest_")] for name in forests},
        confidence=style.percent,
        curves=drawn,
        networks=names.networks,
        label_sets=names.labels,
        optimizers=names.optimizers,
        reference=names.reference,
        bands=_fewest_seeds(drawn) >= FEWEST_WITH_BANDS,
        coherence_of=_of(drawn, "coherence"),
        accuracy_of=_of(drawn, "accuracy"),
        sections=own + sections,
        figure_sections=sections,
        tested=[row for row in listed if row["verdict"] in TESTED],
        reported=[row for row in listed if row["verdict"] == "reported"],
        untested=[row for row in listed if row["verdict"] == "not tested"],
        tables=sorted(tables),
        content=Markup(as_script(content)),
        library=Markup(_library()),
        script=Markup(SCRIPT),
    )


@dataclass(frozen=True)
class _Names:
    """What can be chosen, as a reader sees it, and the colour of each label set and optimiser."""

    networks: list[str]
    labels: list[str]
    optimizers: list[str]
    reference: str
    colors: dict[str, str]


def _tables_of_curves(tables: Mapping[str, pd.DataFrame], confidence: float) -> dict[str, pd.DataFrame]:
    """The charts' tables that the study's tables give; none that has no rows."""
    accuracy, coherence, fit = (tables.get(name) for name in ("accuracy", "coherence", "equal_fit"))
    drawn: dict[str, pd.DataFrame] = {}
    if coherence is not None and not coherence.empty:
        drawn["coherence"] = curves.coherence_curves(coherence, accuracy, confidence)
        drawn["layers"] = curves.layer_map(coherence)
    if accuracy is not None and not accuracy.empty:
        drawn["accuracy"] = curves.accuracy_curves(accuracy, confidence)
    if fit is not None and not fit.empty:
        drawn["equal_fit"] = curves.equal_fit_curves(fit, confidence)
    return {name: table for name, table in drawn.items() if not table.empty}


def _names(drawn: Mapping[str, pd.DataFrame], label_sets: Sequence[str], style: FigureStyle) -> _Names:
    found = {
        name: {str(one) for table in drawn.values() for one in table[name].unique()} for name in ("labels", "optimizer")
    }
    labels = [readable(name) for name in label_sets if name in found["labels"]]
    optimizers = [readable(name) for name in style.optimizer_colors if name in found["optimizer"]]
    reference = readable(style.reference_optimizer)
    given = {readable(name): color for name, color in style.optimizer_colors.items()}
    return _Names(
        list(dict.fromkeys(one for table in drawn.values() for one in table["network"].unique())),
        labels,
        optimizers,
        reference if reference in optimizers else next(iter(optimizers), ""),
        assigned(labels, {}) | given,
    )


def _renamed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with label sets and optimisers named as a reader sees them."""
    return table.assign(**{name: table[name].map(readable) for name in ("labels", "optimizer")})


def _charts(
    drawn: Mapping[str, pd.DataFrame], forests: Mapping[str, pd.DataFrame], names: _Names
) -> dict[str, charts.Spec]:
    specs = {name: charts.forest(name.removeprefix("forest_")) for name in forests}
    if "coherence" in drawn:
        specs["coherence"] = charts.curves(
            "coherence", "m-coherence", "coherence_of", names.colors, logarithmic=True
        )  # fmt: skip
        specs["layers"] = charts.layers(names.labels)
    if "accuracy" in drawn:
        specs["accuracy"] = charts.curves("accuracy", "accuracy", "accuracy_of", names.colors, logarithmic=False)
    if "equal_fit" in drawn:
        specs["equal_fit"] = charts.equal_fit({name: names.colors[name] for name in names.optimizers})
    return specs


def _forests(claims: Sequence[Mapping[str, Any]]) -> dict[str, pd.DataFrame]:
    """Rows of the forest plot by unit: the deciding part of every tested claim that has a number."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for claim in claims:
        if claim["verdict"] in TESTED and claim["value"] is not None:
            part = next(part for part in claim["parts"] if part["where"] == claim["where"])
            unit = "factor" if part["unit"] == "doublings" else part["unit"]
            rows.setdefault(unit, []).append(_forest_row(claim, part))
    ordered = [unit for unit in ("factor", "points", "number") if unit in rows]
    return {f"forest_{unit}": pd.DataFrame(rows[unit]) for unit in ordered}


def _forest_row(claim: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    unit, null = part["unit"], part["null"]
    low, high = part["t_interval"]
    numbers = {"value": part["value"], "low": low, "high": high}
    numbers |= {"null_low": null[0], "null_high": null[1]} if null else {}
    return {
        "claim": f"{claim['id']} {claim['short']}",
        "text": claim["statement"],
        "verdict": claim["verdict"],
        "finding": finding(claim),
        "in_words": f"{in_unit(part['value'], unit)} ({range_in_unit((low, high), unit)})",
        "null_in_words": range_in_unit(null, unit) if null else "not known",
        **{"null_low": float("nan"), "null_high": float("nan")},
        **{name: _on_axis(value, unit) for name, value in numbers.items()},
    }


def _on_axis(value: float, unit: str) -> float:
    """Where a statistic stands on the axis of its unit: a factor itself, points as such."""
    if unit in ("factor", "doublings"):
        base = 10.0 if unit == "factor" else 2.0
        return float(base**value)
    return 100 * value if unit == "points" else value


def _sections(config: Config, figures: Sequence[DrawnFigure]) -> list[dict[str, Any]]:
    sections: dict[str, list[dict[str, Any]]] = {}
    for figure in figures:
        sections.setdefault(figure.section, []).append(
            {
                "name": figure.name,
                "title": figure.title,
                "png": f"figures/{figure.png.name}",
                "pdf": f"figures/{figure.png.with_suffix('.pdf').name}",
                "image": _as_data(figure.png),
                "caption": Markup(caption_as_html(figure.caption, config)),
                "tables": list(figure.tables),
            }
        )
    ordered = sorted(sections.items())
    return [
        {"id": f"section-{number}", "title": title.partition(" ")[2], "figures": own}
        for number, (title, own) in enumerate(ordered)
    ]


def _row(claim: Mapping[str, Any], order: int, figures: set[str]) -> dict[str, Any]:
    ranks = {verdict: rank for rank, verdict in enumerate((*TESTED, "reported", "not tested"))}
    parts = [part for part in claim["parts"] if part["verdict"] != "reported"]
    return {
        "id": claim["id"],
        "order": order,
        "statement": claim["statement"],
        "source": claim["source"],
        "finding": finding(claim),
        "verdict": claim["verdict"],
        "rank": ranks[claim["verdict"]],
        "tie": claim["verdict"] == "inconclusive" and bool(parts) and all(is_tie(part) for part in parts),
        "figure": claim["figure"] if claim["figure"] in figures else None,
    }


def _facts(config: Config, claims: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> list[str]:
    facts = []
    if claims["data"]:
        described = (
            f"{readable(name)} ({of['train']} training and {of['test']} test images)"
            for name, of in claims["data"].items()
        )
        facts.append(" and ".join(described))
    runs = tables.get("accuracy")
    if runs is not None and not runs.empty:
        facts.append(", ".join(readable(name) for name in runs["model"].unique()))
        facts.append(", ".join(readable(name) for name in runs["optimizer"].unique()))
        seeds = runs["seed"].nunique()
        facts.append(f"{seeds} seed{'' if seeds == 1 else 's'}")
    return facts


def _of(drawn: Mapping[str, pd.DataFrame], name: str) -> list[str]:
    """Groups of examples of a chart, the training part first."""
    if name not in drawn:
        return []
    found = list(drawn[name]["of"].unique())
    return sorted(found, key=lambda of: (of != "train", found.index(of)))


def _fewest_seeds(drawn: Mapping[str, pd.DataFrame]) -> int:
    tables = [table[table["seed"] != curves.MEAN] for name, table in drawn.items() if name != "layers"]
    return min(
        (table.groupby(["network", "labels", "optimizer"])["seed"].nunique().min() for table in tables), default=0
    )


def caption_as_html(caption: str, config: Config) -> str:
    """A figure's caption, reStructuredText in which `snakemake.config` is the config, as HTML."""
    text = Environment(autoescape=False).from_string(caption).render(snakemake={"config": config})
    settings = {"raw_enabled": False, "file_insertion_enabled": False, "report_level": 5, "input_encoding": "unicode"}
    return str(publish_parts(text, writer="html5", settings_overrides=settings)["fragment"])


def _as_data(png: Path) -> str:
    """The picture as an address that holds its bytes."""
    return f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}"


def _library() -> str:
    """The code of Vega, Vega-Lite and Vega-Embed, which can stand in a script element."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version="6.4")
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")
