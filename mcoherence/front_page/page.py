"""Everything that the page shows, put together: facts, headline, charts with their tables, figures, claims, files."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import vl_convert
from markupsafe import Markup

from mcoherence.figures.intervals import FEWEST_WITH_BAND
from mcoherence.figures.reading import runs_lost
from mcoherence.figures.style import FigureStyle, looks, readable
from mcoherence.files.page import html_page
from mcoherence.front_page import charts, curves
from mcoherence.front_page.captions import caption_as_html, split_caption
from mcoherence.front_page.forest import forest_rows
from mcoherence.front_page.packing import as_script, packed
from mcoherence.front_page.template import PAGE, SCRIPT, STYLE
from mcoherence.front_page.wording import TESTED, caution_of, finding, headline_of, is_tie
from mcoherence.study.colors import PALETTE, assigned
from mcoherence.study.runs import Config
from mcoherence.tables.columns import TRAIN_GROUP
from mcoherence.tables.rows import run_keys

MOST_ROWS = 200_000  # of the charts' tables; a page of more opens slowly, so that it shows means alone
_LIGHTEST = 0.9  # of the scale, whose end is too light for a line on white
LINE_WIDTH = 2.2  # pixels; dashes are multiples of it
GROUPS = {
    "train": "training examples; for m-coherence the measured sample of them",
    "pristine": "those of them that have their true label",
    "corrupt": "those whose label was changed to another class",
    "redrawn": "the training examples with labels drawn anew, which nothing was trained on",
    "heldout": "examples that were not trained on",
    "test": "the test examples",
}
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
    every = _tables_of_curves(tables, style.confidence)
    means_alone = sum(map(len, every.values())) > MOST_ROWS
    names = _names(every, curves.label_sets_of(tables), style)
    drawn = {name: names.renamed(curves.means_alone(table) if means_alone else table) for name, table in every.items()}
    forests = forest_rows(claims["claims"])
    specs = _charts(drawn, forests, names)
    content = {
        "charts": specs,
        "tables": {name: packed(table) for name, table in (drawn | forests).items()},
        "colors": names.colors,
        "dashes": names.dashes,
        "across": ACROSS,
    }
    stable = _stable_rates(claims["claims"])
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
        measured=_measured(tables.get("coherence")),
        caution=caution_of(claims["claims"], style.confidence),
        forests={name: charts.UNITS[name.removeprefix("forest_")] for name in forests},
        verdict_colors=charts.VERDICT_COLORS,
        undrawn=[claim["id"] for claim in claims["claims"] if claim["verdict"] in TESTED and claim["value"] is None],
        described={name: spec["description"] for name, spec in specs.items()},
        confidence=style.percent,
        curves=drawn,
        networks=_networks(drawn),
        network=_first_network(drawn),
        label_sets=[*names.labels.values()],
        optimizers=[*names.optimizers.values()],
        notes={shown: stable[name] for name, shown in names.optimizers.items() if name in stable},
        reference=names.reference,
        means_alone=means_alone,
        most_rows=MOST_ROWS,
        bands=means_alone or _fewest_seeds(drawn) >= FEWEST_WITH_BAND,
        groups=GROUPS,
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
    """What can be chosen, by the config's name as a reader sees it, and the optimiser to begin with."""

    labels: dict[str, str]
    optimizers: dict[str, str]
    reference: str
    optimizer_colors: Mapping[str, str]

    @property
    def colors(self) -> charts.Looks:
        labels = _colors_of_labels([*self.labels.values()])
        return {
            "labels": labels,
            "optimizer": {shown: self.optimizer_colors[name] for name, shown in self.optimizers.items()},
        }

    @property
    def dashes(self) -> charts.Dashes:
        """Those of the printed figures for label sets, from clean to random; the first optimiser's line is solid."""
        others = [name for name in self.optimizers.values() if name != self.reference]
        kinds = {"labels": [*self.labels.values()], "optimizer": [self.reference, *others]}
        return {kind: {name: _in_pixels(look.linestyle[1]) for name, look in looks(of).items()} for kind, of in
                kinds.items()}  # fmt: skip

    def renamed(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with label sets and optimisers named as a reader sees them."""
        return table.assign(labels=table["labels"].map(self.labels), optimizer=table["optimizer"].map(self.optimizers))


def _colors_of_labels(names: Sequence[str]) -> dict[str, str]:
    """The palette's colours; of more label sets than it has, which run from clean to random, a scale from dark on."""
    if len(names) <= len(PALETTE):
        return assigned(names, {})
    ramp = mpl.colormaps["viridis"](np.linspace(0, _LIGHTEST, len(names)))
    return dict(zip(names, map(mpl.colors.to_hex, ramp), strict=True))


def _in_pixels(dashes: Sequence[float]) -> list[float]:
    return [round(LINE_WIDTH * length, 1) for length in dashes] or [1, 0]


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
    labels = curves.distinct(name for name in label_sets if name in found["labels"])
    optimizers = curves.distinct(name for name in style.optimizer_colors if name in found["optimizer"])
    first = next(iter(optimizers.values()), "")
    return _Names(labels, optimizers, optimizers.get(style.reference_optimizer, first), style.optimizer_colors)


def _networks(drawn: Mapping[str, pd.DataFrame]) -> list[str]:
    return list(dict.fromkeys(one for table in drawn.values() for one in table["network"].unique()))


def _first_network(drawn: Mapping[str, pd.DataFrame]) -> str:
    """The network that the page opens on: the one that the most optimisers trained."""
    trained = {name: {one for table in drawn.values() for one in table.loc[table["network"] == name, "optimizer"]}
               for name in _networks(drawn)}  # fmt: skip
    return max(trained, key=lambda name: len(trained[name]), default="")


def _stable_rates(claims: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What the claims say of the optimisers' learning rates: whether training at them is stable."""
    found: dict[str, set[bool]] = {}
    for claim in claims:
        for part in claim["parts"]:
            for optimizer, rate in (part["rates"] or {}).items():
                found.setdefault(optimizer, set()).add(bool(rate["stable"]))
    words = {(True,): "stable rate", (False,): "rate not stable", (False, True): "rate stable for some networks"}
    return {optimizer: words[tuple(sorted(stable))] for optimizer, stable in found.items()}


def _measured(coherence: pd.DataFrame | None) -> str:
    """How many examples m-coherence is measured on, in words; "" where it is not."""
    if coherence is None or coherence.empty:
        return ""
    rows = coherence[coherence["group"] == TRAIN_GROUP]
    return _from_to(rows["n"]) if "n" in rows and len(rows) else ""


def _from_to(numbers: pd.Series) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _charts(
    drawn: Mapping[str, pd.DataFrame], forests: Mapping[str, pd.DataFrame], names: _Names
) -> dict[str, charts.Spec]:
    specs = {name: charts.forest(name.removeprefix("forest_"), list(dict.fromkeys(table["claim"])))
             for name, table in forests.items()}  # fmt: skip
    if "coherence" in drawn:
        specs["coherence"] = charts.curves(
            "coherence", "m-coherence", "coherence_of", names.colors, names.dashes, logarithmic=True
        )
        specs["layers"] = charts.layers([*names.labels.values()])
    if "accuracy" in drawn:
        specs["accuracy"] = charts.curves(
            "accuracy", "accuracy", "accuracy_of", names.colors, names.dashes, logarithmic=False
        )
    if "equal_fit" in drawn:
        specs["equal_fit"] = charts.equal_fit(names.colors, names.dashes)
    return specs


def _sections(config: Config, figures: Sequence[DrawnFigure]) -> list[dict[str, Any]]:
    sections: dict[str, list[dict[str, Any]]] = {}
    for figure in figures:
        first, rest = split_caption(caption_as_html(figure.caption, config))
        sections.setdefault(figure.section, []).append(
            {
                "name": figure.name,
                "title": figure.title,
                "png": f"figures/{figure.png.name}",
                "pdf": f"figures/{figure.png.with_suffix('.pdf').name}",
                "image": _as_data(figure.png),
                "caption": Markup(first),
                "more": Markup(rest),
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
        described = [
            f"{readable(name)} ({of['train']} training and {of['test']} test images)"
            for name, of in sorted(claims["data"].items(), key=lambda one: _by_number(one[0]))
        ]
        facts.append(", ".join(described) if len(described) > 2 else " and ".join(described))
    runs = tables.get("accuracy")
    if runs is not None and not runs.empty:
        facts.append(", ".join(readable(name) for name in runs["model"].unique()))
        facts.append(", ".join(readable(name) for name in runs["optimizer"].unique()))
        by = ["dataset", "model", "labels", "optimizer", "subset"]
        seeds = _from_to(runs.groupby(by, observed=True)["seed"].nunique())
        facts.append(f"{seeds} seed{'' if seeds == '1' else 's'} each")
        if lost := runs_lost(runs):
            facts.append(f"{lost} of {runs.groupby(run_keys(runs), observed=True).ngroups} runs diverged")
    return facts


def _by_number(name: str) -> list[tuple[int, str]]:
    """What sorts names that end in numbers by the numbers: 2000 before 16000."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


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


def _as_data(png: Path) -> str:
    """The picture as an address that holds its bytes."""
    return f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}"


@cache
def _library() -> str:
    """The code of Vega, Vega-Lite and Vega-Embed, which can stand in a script element."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version="6.4")
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")
