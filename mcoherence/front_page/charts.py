"""The page's charts as Vega-Lite specifications, by Altair; they share their tables, and what is chosen on the page.

Vega-Lite rather than Plotly or Bokeh: a chart is a description of its data, not a drawing program, so that charts share
one table and one choice; its code is 0.9 MB in the page (Plotly's 4.7 MB); it is what Snakemake's own report uses.

What is chosen (network, optimisers, label sets, axes) are parameters of equal names in all charts, which the page sets
from ordinary form elements: these work by keyboard and on a phone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

Spec = dict[str, Any]

VERDICT_COLORS = {"supported": "#0072B2", "not supported": "#B84700", "inconclusive": "#595959"}
VERDICT_SHAPES = {"supported": "circle", "not supported": "cross", "inconclusive": "diamond"}
KINDS = ("labels", "optimizer")  # what colour and dashes may show, one each
_HEIGHT = 260
_ROW = 38  # pixels of a claim: its name above, its marks below
_SHOWN = {
    "hue": "hue_by + ': ' + datum[hue_by]",
    "dashes": "hue_by == 'labels' ? 'optimizer: ' + datum.optimizer : 'labels: ' + datum.labels",
}
_LOG_TICKS = ", ".join(f"log({1 + step}) / LN10" for step in (0, *(k * 10**e for e in range(7) for k in (1, 3))))
_ZOOM = "wheel![event.ctrlKey || event.shiftKey]"  # the wheel alone is the page's
# The ends of layers' names tell them apart: features.denseblock1.denselayer1.conv1
_LAST_LETTERS = "length(datum.label) > 20 ? '…' + slice(datum.label, -19) : datum.label"
UNITS = {
    "factor": ("times", 1),
    "points": ("percentage points", 0),
    "number": ("the claim's own unit", 0),
}

_LOOK = {
    "axis": {
        "grid": True,
        "gridColor": "#e6e6e6",
        "domainColor": "#888",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "header": {"labelFontSize": 13},
}

Looks = Mapping[str, Mapping[str, str]]
"""The colour of each label set and of each optimiser, by kind: the two may have equal names."""

Dashes = Mapping[str, Mapping[str, Sequence[float]]]
"""The dashes of each, by kind, in pixels: lengths of lines and gaps; one of no gap is solid."""


def forest(unit: str, claims: Sequence[str]) -> Spec:
    """Every tested claim of one unit: a tick for each place, and the place that decides it with its interval and null.

    Args:
        unit: of UNITS; the table is `forest_UNIT`: claim, counted, fraction, link, text, verdict, place, place_verdict,
            decides, value, low, high, null_low, null_high, in_words, null_in_words.
        claims: the values of `claim`, from above.
    """
    scale = alt.Scale(type="log", nice=True) if unit == "factor" else alt.Scale(zero=True)
    axis = alt.Axis(format=",.6~f", tickCount=alt.ExprRef("width < 420 ? 3 : 6"), labelOverlap=True)
    y = alt.Y("claim:N", sort=[*claims], title=None, axis=None)
    base = alt.Chart(_named(f"forest_{unit}"))
    tooltip = [
        alt.Tooltip("place:N", title="place"),
        alt.Tooltip("place_verdict:N", title="verdict there"),
        alt.Tooltip("in_words:N", title="value and interval"),
        alt.Tooltip("null_in_words:N", title="where there is no effect"),
        alt.Tooltip("text:N", title="claim"),
        alt.Tooltip("verdict:N", title="verdict of the claim"),
    ]
    zero = UNITS[unit][1]
    line = (
        alt.Chart(alt.InlineData(values=[{"at": zero}])).mark_rule(strokeDash=[3, 3], color="#595959").encode(x="at:Q")
    )
    decisive = base.transform_filter("datum.decides == 'yes'")
    null = (
        decisive.transform_filter("isValid(datum.null_low)")
        .mark_bar(color="#d9d9d9", height=12, yOffset=7)
        .encode(x=alt.X("null_low:Q", scale=scale, title=None, axis=axis), x2="null_high:Q", y=y, tooltip=tooltip)
    )
    ticks = (
        base.transform_filter("isValid(datum.value)")
        .mark_tick(thickness=2.5, height=13, opacity=0.5, yOffset=7)
        .encode(x="value:Q", y=y, color=_of_verdict("place_verdict"), tooltip=tooltip, href="link:N")
    )
    valued = decisive.transform_filter("isValid(datum.value)")
    interval = valued.mark_rule(strokeWidth=2, yOffset=7, y2Offset=7).encode(
        x="low:Q", x2="high:Q", y=y, color=_of_verdict("place_verdict"), tooltip=tooltip
    )
    value = valued.mark_point(filled=True, size=110, opacity=1, yOffset=7).encode(
        x="value:Q",
        y=y,
        color=_of_verdict("place_verdict"),
        shape=_shape_of_verdict("place_verdict"),
        tooltip=tooltip,
        href="link:N",
    )
    names = base.transform_aggregate(groupby=["claim", "counted", "fraction", "link", "verdict"])
    name = names.mark_text(align="left", dy=-9, fontSize=12, fontWeight=600).encode(
        x=alt.value(0), y=y, text="claim:N", color=_of_verdict("verdict"), href="link:N"
    )
    said = names.transform_calculate(said="width < 420 ? datum.fraction : datum.counted")
    count = said.mark_text(align="right", dy=-9, fontSize=11).encode(
        x=alt.value("width"), y=y, text="said:N", color=_of_verdict("verdict"), href="link:N"
    )
    chart = (null + line + ticks + interval + value + name + count).properties(width="container", height=alt.Step(_ROW))
    return _spec(
        chart, f"Tested claims, in {UNITS[unit][0]}: every place, and the interval and null of the deciding one"
    )


def curves(table: str, title: str, of: str, colors: Looks, dashes: Dashes, *, logarithmic: bool) -> Spec:
    """What is measured along training: a line for each label set and optimiser, seeds and bands at will.

    Args:
        table: its name, of the columns `curves.COLUMNS`.
        title: of the vertical axis.
        of: the parameter that holds the examples to show.
        colors: of label sets and of optimisers.
        dashes: of both.
        logarithmic: whether the vertical axis may be logarithmic, as `ylog` says.
    """
    up = "ylog" if logarithmic else "false"
    chosen = (
        alt.Chart(_named(table))
        .transform_filter(
            f"datum.network == network && datum.of == {of} && indexof(labels, datum.labels) >= 0"
            " && indexof(optimizers, datum.optimizer) >= 0 && (seeds || datum.seed == 'mean')"
            " && isValid(datum.value) && (x != 'loss' || isValid(datum.loss))"
        )
        .transform_calculate(
            at="x == 'loss' ? (xlog ? -log(max(datum.loss, 1e-4)) / LN10 : -datum.loss)"
            " : (xlog ? log(1 + datum[x]) / LN10 : datum[x])",
            y=f"{up} ? log(max(datum.value, 1e-6)) / LN10 : datum.value",
            y_low=f"{up} ? log(max(datum.low, 1e-6)) / LN10 : datum.low",
            y_high=f"{up} ? log(max(datum.high, 1e-6)) / LN10 : datum.high",
            line="datum.labels + ', ' + datum.optimizer",
            between="isValid(datum.low) ? format(datum.low, '.3g') + ' to ' + format(datum.high, '.3g')"
            " : datum.seed == 'mean' ? 'none, of one seed' : 'none, a single seed'",
            at_loss="isValid(datum.loss) ? format(datum.loss, '.3g') : 'not known'",
            **_SHOWN,
        )
    )
    across = alt.X(
        "at:Q",
        title=None,  # Vega-Lite takes no expression there; the page writes it below the chart
        scale=alt.Scale(zero=False, nice=False, padding=4),
        axis=alt.Axis(
            labelExpr="x == 'loss' ? format(xlog ? pow(10, -datum.value) : -datum.value, '.2~g')"
            " : format(xlog ? pow(10, datum.value) - 1 : datum.value, ',.3~r')",
            labelOverlap=True,
            labelSeparation=5,
            values=alt.ExprRef(f"xlog && x != 'loss' ? [{_LOG_TICKS}] : null"),
        ),
    )
    upward = alt.Axis(title=title, labelExpr=f"{up} ? format(pow(10, datum.value), ',.2~r') : datum.label", tickCount=6)
    y_scale = alt.Scale(zero=False, nice=True)
    hue, dash = _hue(colors), _dash(dashes)
    detail = alt.Detail(["line:N", "seed:N"])
    tooltip = [
        alt.Tooltip("labels:N", title="labels"),
        alt.Tooltip("optimizer:N", title="optimiser"),
        alt.Tooltip("seed:N", title="seed"),
        alt.Tooltip("step:Q", title="step"),
        alt.Tooltip("epoch:Q", title="epoch", format=".2f"),
        alt.Tooltip("at_loss:N", title="training loss"),
        alt.Tooltip("value:Q", title=title, format=".3g"),
        alt.Tooltip("between:N", title="interval"),
    ]
    means = chosen.transform_filter("datum.seed == 'mean'")
    band = (
        means.transform_filter("bands && isValid(datum.low) && isValid(datum.high)")
        .mark_area(opacity=0.2, clip=True)
        .encode(
            x=across,
            y=alt.Y("y_low:Q", axis=upward, scale=y_scale),
            y2="y_high:Q",
            color=hue,
            detail=alt.Detail("line:N"),
        )
    )
    single = (
        chosen.transform_filter("datum.seed != 'mean'")
        .mark_line(strokeWidth=0.8, opacity=0.55, clip=True)
        .encode(
            x=across,
            y=alt.Y("y:Q", axis=upward, scale=y_scale),
            color=hue,
            strokeDash=dash,
            detail=detail,
            order="step:Q",
        )
    )
    line = means.mark_line(strokeWidth=2.2, clip=True).encode(
        x=across, y=alt.Y("y:Q", axis=upward, scale=y_scale), color=hue, strokeDash=dash, detail=detail, order="step:Q"
    )
    point = chosen.mark_point(filled=True, size=28, clip=True).encode(
        x=across,
        y=alt.Y("y:Q", axis=upward, scale=y_scale),
        color=hue,
        opacity=alt.condition("datum.seed == 'mean'", alt.value(1), alt.value(0.4)),
    )
    zoom = alt.selection_interval(bind="scales", name="zoom", zoom=_ZOOM)
    target = _target(chosen, x=across, y=alt.Y("y:Q", axis=upward, scale=y_scale), tooltip=tooltip)
    chart = (band + single + line + point + target.add_params(zoom)).properties(width="container", height=_HEIGHT)
    return _spec(chart, f"{title} along training, a line for each label set and optimiser", _choices())


def layers(label_sets: Sequence[str]) -> Spec:
    """A map of every layer at every checkpoint, one for each label set: how coherent its gradients are.

    Three side by side; the page has fewer where it is narrow.

    Of the table `layers`, `curves.LAYER_COLUMNS`; one optimiser's, `map_optimizer`.
    """
    chart = (
        alt.Chart(_named("layers"))
        .transform_filter(
            "datum.network == network && datum.optimizer == map_optimizer && indexof(labels, datum.labels) >= 0"
            " && isValid(datum.value)"
        )
        .mark_rect()
        .encode(
            x=alt.X(
                "step:O",
                title="training step",
                axis=alt.Axis(labelOverlap="greedy", labelSeparation=4, labelAngle=0, grid=False),
            ),
            y=alt.Y(
                "layer:N",
                sort=alt.EncodingSortField("order", op="min"),
                title="layer, from the input",
                axis=alt.Axis(labelOverlap="greedy", labelLimit=150, labelExpr=_LAST_LETTERS, grid=False),
            ),
            color=alt.Color(
                "value:Q",
                title="m-coherence",
                scale=alt.Scale(type="log", scheme="cividis"),
                legend=alt.Legend(format="~g"),
            ),
            tooltip=[
                alt.Tooltip("layer:N"),
                alt.Tooltip("labels:N"),
                alt.Tooltip("step:Q"),
                alt.Tooltip("value:Q", title="m-coherence", format=".3g"),
            ],
        )
        .properties(width=240, height=340)
        .facet(facet=alt.Facet("labels:N", sort=[*label_sets], title=None), columns=3)
        .resolve_scale(y="shared", x="independent")
    )
    choices = [*_choices(), alt.param(name="map_optimizer", value="")]
    return _spec(chart, "m-coherence of each layer at each checkpoint, a map for each label set", choices)


def equal_fit(colors: Looks, dashes: Dashes) -> Spec:
    """Accuracy on corrupt examples at equal accuracy on pristine ones, a line for each optimiser and label set."""
    chosen = (
        alt.Chart(_named("equal_fit"))
        .transform_filter(
            "datum.network == network && indexof(labels, datum.labels) >= 0"
            " && indexof(optimizers, datum.optimizer) >= 0 && (seeds || datum.seed == 'mean')"
        )
        .transform_calculate(line="datum.labels + ', ' + datum.optimizer", **_SHOWN)
    )
    x = alt.X("loss:Q", title="accuracy on pristine examples", scale=alt.Scale(zero=False))
    title = "accuracy on corrupt examples"
    hue = _hue(colors)
    means = chosen.transform_filter("datum.seed == 'mean'")
    band = (
        means.transform_filter("bands && isValid(datum.low) && isValid(datum.high)")
        .mark_area(opacity=0.2, clip=True)
        .encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q", color=hue, detail="line:N")
    )
    opacity = alt.condition("datum.seed == 'mean'", alt.value(1), alt.value(0.35))
    line = chosen.mark_line(clip=True).encode(
        x=x,
        y=alt.Y("value:Q", title=title),
        color=hue,
        strokeDash=_dash(dashes),
        detail=["line:N", "seed:N"],
        opacity=opacity,
    )
    target = _target(
        chosen,
        x=x,
        y=alt.Y("value:Q", title=title),
        tooltip=[
            alt.Tooltip("optimizer:N", title="optimiser"),
            alt.Tooltip("labels:N"),
            alt.Tooltip("seed:N"),
            alt.Tooltip("loss:Q", title="accuracy, pristine", format=".3f"),
            alt.Tooltip("value:Q", title="accuracy, corrupt", format=".3f"),
        ],
    )
    chart = (band + line + target).properties(width="container", height=_HEIGHT)
    return _spec(chart, "Accuracy on corrupt examples at equal accuracy on pristine ones", _choices())


def _choices() -> list[alt.Parameter]:
    """What the page's form sets, with what stands until it does."""
    start: dict[str, Any] = {
        "network": "",
        "optimizers": [],
        "labels": [],
        "coherence_of": "train",
        "accuracy_of": "train",
        "x": "step",
        "xlog": True,
        "ylog": True,
        "seeds": False,
        "bands": True,
        "hue_by": "labels",
    }
    return [alt.param(name=name, value=value) for name, value in start.items()]


def _named(table: str) -> alt.NamedData:
    return alt.NamedData(name=table)


def _target(chosen: alt.Chart, **encoded: Any) -> alt.Chart:
    """What is pointed at: an unseen disc about every point, larger than the point that is seen."""
    target: alt.Chart = chosen.mark_point(filled=True, size=330, color="transparent", clip=True).encode(**encoded)
    return target


def _hue(colors: Looks) -> alt.Color:
    keyed = _keyed(colors)
    return alt.Color("hue:N", scale=alt.Scale(domain=[*keyed], range=[*keyed.values()]), legend=None)


def _dash(dashes: Dashes) -> alt.StrokeDash:
    keyed = _keyed(dashes)
    scale = alt.Scale(domain=[*keyed], range=[[*one] for one in keyed.values()])
    return alt.StrokeDash("dashes:N", scale=scale, legend=None)


def _keyed(looks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The looks of both kinds in one scale, by names that say the kind, as `_SHOWN` makes them."""
    return {f"{kind}: {name}": look for kind in KINDS for name, look in looks[kind].items()}


def _of_verdict(verdict: str) -> alt.Color:
    scale = alt.Scale(domain=[*VERDICT_COLORS], range=[*VERDICT_COLORS.values()])
    return alt.Color(f"{verdict}:N", scale=scale, legend=None)


def _shape_of_verdict(verdict: str) -> alt.Shape:
    scale = alt.Scale(domain=[*VERDICT_SHAPES], range=[*VERDICT_SHAPES.values()])
    return alt.Shape(f"{verdict}:N", scale=scale, legend=None)


def _spec(chart: Any, description: str, choices: Sequence[alt.Parameter] = ()) -> Spec:
    """The chart as JSON, with what all of them look like.

    Common looks are added to the JSON, since each method of Altair copies the whole chart. Tests check that it is
    valid, which takes longer than to make it.
    """
    if choices:
        chart = chart.add_params(*choices)
    spec: Spec = chart.to_dict(validate=False)
    spec.pop("datasets", None)
    config = spec["config"] | _LOOK | {"view": spec["config"].get("view", {}) | {"stroke": None}}
    return spec | {"description": description, "background": "transparent", "config": config}
