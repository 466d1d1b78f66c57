"""Statistics for people: a table as text and HTML, a data frame, a plot. pandas and matplotlib are imported on use."""

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mcoherence.gradients.batch.evidence import Evidence

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SHOWN = 4  # rows of groups, and of layers or examples, before the rest is left out
Rows = list[list[str]]
Level = Literal["model", "layer", "parameter"]


# `GradientStatistics` and `ExampleStatistics`, whose modules import this one and so are not imported here.
Sums = Any
Examples = Any


def text_of_statistics(statistics: Sums) -> str:
    """About ten lines: the sample and its groups, the layers, and what was checked."""
    head, groups, layers, foot = _of_statistics(statistics)
    return "\n".join([head, *_aligned(groups), *_aligned(layers), foot])


def html_of_statistics(statistics: Sums) -> str:
    """The same as two tables."""
    head, groups, layers, foot = _of_statistics(statistics)
    return f"<p>{html.escape(head)}</p>{_table(groups)}{_table(layers)}<p>{html.escape(foot)}</p>"


def text_of_examples(examples: Examples) -> str:
    """About ten lines: the spread of each column, and the examples with the largest norms."""
    head, spread, largest, foot = _of_examples(examples)
    return "\n".join([head, *_aligned(spread), *_aligned(largest), foot])


def html_of_examples(examples: Examples) -> str:
    """The same as two tables."""
    head, spread, largest, foot = _of_examples(examples)
    return f"<p>{html.escape(head)}</p>{_table(spread)}{_table(largest)}<p>{html.escape(foot)}</p>"


def frame_of_statistics(statistics: Sums, by: Level = "layer") -> "pd.DataFrame":
    """One row for each group and layer, parameter or the model."""
    import pandas as pd

    measures = {
        "sum_sq_norm": statistics.sum_sq_norm,
        "sq_norm_of_sum": statistics.sq_norm_of_sum,
        "m_coherence": statistics.m_coherence,
        "alpha": statistics.alpha,
    }
    rows: list[dict[str, Any]] = []
    for group in statistics.groups:
        start: dict[str, Any] = {"group": group, "n": statistics.n[group]}
        found = {key: measure(by=by, groups=[group]) for key, measure in measures.items()}
        if by == "model":
            rows.append(start | found)
        else:
            rows += [start | {by: name} | {key: of[name] for key, of in found.items()} for name in found["alpha"]]
    return pd.DataFrame(rows)


def frame_of_examples(examples: Examples) -> "pd.DataFrame":
    """One row for each example."""
    import pandas as pd

    return pd.DataFrame({"index": np.arange(examples.n), "loss": examples.losses, **_columns(examples)})


def _columns(examples: Examples) -> dict[str, Any]:
    """Norm and products of each example by the names of their columns, which say whose gradient is left out."""
    columns: dict[str, Any] = {"sq_norm": examples.sq_norm}
    for name, value in examples.dot.items():
        columns[f"dot_{name}_of_others" if name in examples.own_left_out else f"dot_{name}"] = value
    return columns


def plot_of_statistics(statistics: Sums, ax: "Axes | None" = None) -> "Axes":
    """Alpha of every layer, a row of points for each group."""
    axes = axes_or_new(ax, height=1.0 + 0.22 * len(statistics.layers))
    places = np.arange(len(statistics.layers))
    for group in statistics.groups:
        alpha = statistics.alpha("layer", [group])
        label = f"{group} ({statistics.n[group]} examples)"
        axes.plot([alpha[layer] for layer in statistics.layers], places, "o", label=label)
    axes.set_yticks(places, [layer or "(the model)" for layer in statistics.layers])
    axes.invert_yaxis()
    axes.set_xlim(left=0.0)
    axes.set_xlabel("alpha = m-coherence / n")
    axes.legend()
    return axes


def plot_of_examples(examples: Examples, ax: "Axes | None" = None) -> "Axes":
    """Each example's norm, against its product with the first direction where there is one, else as a histogram."""
    axes = axes_or_new(ax, height=3.5)
    norms = np.sqrt(examples.sq_norm)
    members = [(name, examples.group_ids == index) for index, name in enumerate(examples.groups)]
    for name, chosen in members:
        if not examples.directions:
            axes.hist(norms[chosen], bins=30, alpha=0.6, label=name)
        else:
            axes.plot(norms[chosen], examples.dot[examples.directions[0]][chosen], ".", alpha=0.6, label=name)
    axes.set_xlabel("norm of the example's gradient")
    axes.set_ylabel("examples")
    if examples.directions:
        first = examples.directions[0]
        axes.set_ylabel(f"product with {first}{' of others' if first in examples.own_left_out else ''}")
        axes.axhline(0.0, color="0.6", linewidth=0.8)
    axes.legend()
    return axes


def axes_or_new(ax: "Axes | None", height: float) -> "Axes":
    """Those given, or of a new figure that no backend of the process knows of."""
    if ax is not None:
        return ax
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.subplots()


def _of_statistics(statistics: Sums) -> tuple[str, Rows, Rows, str]:
    n, layers = sum(statistics.n.values()), statistics.layers
    head = (
        f"Gradients of {_count(n, 'example')} in {_count(len(statistics.groups), 'group')}: "
        f"{_count(len(layers), 'layer')}, {_count(len(statistics.parameters), 'parameter tensor')}"
    )
    unions = [("all examples", list(statistics.groups))] if len(statistics.groups) > 1 else []
    chosen = unions + [(group, [group]) for group in statistics.groups[:SHOWN]]
    groups = [["group", "n", "m-coherence", "alpha", "|S|^2", "Q"]]
    for name, members in chosen:
        counted = sum(statistics.n[group] for group in members)
        measures = (statistics.m_coherence, statistics.alpha, statistics.sq_norm_of_sum, statistics.sum_sq_norm)
        groups.append([name, str(counted), *(_number(measure(groups=members)) for measure in measures)])
    groups += _left_out(len(statistics.groups) - SHOWN, "groups", "statistics.n", 6)
    m, alpha, total = (of("layer") for of in (statistics.m_coherence, statistics.alpha, statistics.sum_sq_norm))
    whole = statistics.sum_sq_norm()
    first = sorted(layers, key=lambda layer: -total[layer])[:SHOWN]
    table = [["layer", "share of Q", "m-coherence", "alpha"]] + [
        [
            layer or "(the model)",
            _number(total[layer] / whole if whole else math.nan),
            _number(m[layer]),
            _number(alpha[layer]),
        ]
        for layer in layers
        if layer in first
    ]
    table += _left_out(len(layers) - SHOWN, "layers", "to_dataframe()", 4)
    return head, groups, table, _checked(statistics.evidence)


def _of_examples(examples: Examples) -> tuple[str, Rows, Rows, str]:
    head = f"Gradients of {_count(examples.n, 'example')}, {_count(len(examples.layers), 'layer')}"
    columns = _columns(examples)
    spread = [["", "smallest", "median", "largest", "share above 0"]]
    for name, values in columns.items():
        quantiles = (_number(float(np.quantile(values, q))) for q in (0.0, 0.5, 1.0))
        spread.append([name, *quantiles, _number(float((values > 0).mean()))])
    order = np.argsort(-examples.sq_norm, kind="stable")[:SHOWN]
    largest = [["index", *columns]] + [[str(i), *(_number(float(v[i])) for v in columns.values())] for i in order]
    largest += _left_out(examples.n - SHOWN, "examples", "to_dataframe()", len(columns) + 1)
    return head, spread, largest, _checked(examples.evidence)


def _checked(evidence: Evidence) -> str:
    spot = (
        ""
        if math.isnan(evidence.spot_relative_error)
        else f", error in the spot check {evidence.spot_relative_error:.1g}"
    )
    slow = (
        f", {_count(len(evidence.by_whole_model), 'parameter')} through the whole model"
        if evidence.by_whole_model
        else ""
    )
    return f"checked: all {evidence.parameters_covered:,} weights covered, identities hold{spot}{slow}"


def _left_out(number: int, what: str, where: str, columns: int) -> Rows:
    return [[f"... {number} more {what}: {where}", *[""] * (columns - 1)]] if number > 0 else []


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _aligned(rows: Rows) -> list[str]:
    """Lines with names on the left and numbers on the right; a row of one entry is not padded."""
    full = [row for row in rows if any(row[1:])]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        if row in full
        else row[0]
        for row in rows
    ]


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in body]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
