"""Mermaid's flow charts as SVG, drawn here: GitHub draws them itself, and mermaid's own script comes from its server.

Only what our pages use is understood: `flowchart LR` or `TD`, and arrows `a --> b` between names.
"""

import re
from html import escape
from typing import Any

import networkx as nx
from docutils import nodes
from docutils.parsers.rst import Directive

ACROSS, DOWN, HEIGHT = 150, 62, 30  # pixels from one layer to the next, between neighbours in one, of a box
LETTER = 7.4  # pixels


def setup(app: Any) -> dict[str, bool]:
    """Register the directive; MyST takes fences of this language as it."""
    app.add_directive("mermaid", Flowchart)
    return {"parallel_read_safe": True}


class Flowchart(Directive):
    """A fence of mermaid as a picture."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The picture as raw HTML."""
        return [nodes.raw("", svg("\n".join(self.content)), format="html")]


def svg(chart: str) -> str:
    """The chart as SVG: every name in the layer after the last that points to it, layers in rows."""
    edges = re.findall(r"^\s*(\w+) --> (\w+)\s*$", chart, re.MULTILINE)
    forward = without_ways_back(nx.DiGraph(edges))
    layers = [sorted(layer) for layer in nx.topological_generations(forward)]
    for _ in range(8):
        layers = _in_order(layers, forward)
    places = _places(layers)
    width = max(x for x, _ in places.values()) + ACROSS / 2
    height = max(y for _, y in places.values()) + DOWN / 2
    arrows = "".join(_arrow(*places[a], *places[b]) for a, b in edges)
    boxes = "".join(_box(name, *place) for name, place in places.items())
    words = escape("; ".join(f"{a} to {b}" for a, b in edges))
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{words}" '
        f'style="width:100%;max-width:{width:.0f}px;font:13px sans-serif;fill:currentColor;stroke:currentColor">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" stroke="none"/></marker></defs>'
        f"{arrows}{boxes}</svg>"
    )


def without_ways_back(graph: nx.DiGraph) -> nx.DiGraph:
    """The graph without one arrow of each circle: that without which the longest way through it is longest."""
    graph = nx.DiGraph(graph)
    for circle in list(nx.simple_cycles(graph)):
        arrows = list(zip(circle, circle[1:] + circle[:1], strict=True))
        if all(graph.has_edge(*arrow) for arrow in arrows):
            graph.remove_edge(*max(sorted(arrows, reverse=True), key=lambda arrow: _longest_way(graph, arrow)))
    return graph


def _longest_way(graph: nx.DiGraph, without: tuple[str, str]) -> int:
    """Arrows of the longest way through a graph without one of them; -1 where circles are left."""
    rest = nx.restricted_view(graph, [], [without])
    return nx.dag_longest_path_length(rest) if nx.is_directed_acyclic_graph(rest) else -1


def _in_order(layers: list[list[str]], graph: nx.DiGraph) -> list[list[str]]:
    """The layers with each name near the mean place of its neighbours, so that fewer arrows cross."""
    share = {name: (i + 1) / (len(layer) + 1) for layer in layers for i, name in enumerate(layer)}

    def wanted(name: str) -> float:
        near = [share[other] for other in (*graph.predecessors(name), *graph.successors(name))]
        return sum(near) / len(near)

    return [sorted(layer, key=wanted) for layer in layers]


def _places(layers: list[list[str]]) -> dict[str, tuple[float, float]]:
    """The centre of every box."""
    most = max(map(len, layers))
    return {
        name: (ACROSS * (i + (most - len(layer)) / 2 + 0.5), DOWN * (row + 0.5))
        for row, layer in enumerate(layers)
        for i, name in enumerate(layer)
    }


def _box(name: str, x: float, y: float) -> str:
    width = min(ACROSS - 8, LETTER * len(name) + 16)
    return (
        f'<rect x="{x - width / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{width:.0f}" height="{HEIGHT}" rx="5" '
        f'style="fill:var(--color-background-secondary)"/>'
        f'<text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="middle" stroke="none">{name}</text>'
    )


def _arrow(x0: float, y0: float, x1: float, y1: float) -> str:
    down = 1 if y1 > y0 else -1
    y0, y1 = y0 + down * HEIGHT / 2, y1 - down * HEIGHT / 2
    middle = (y0 + y1) / 2
    return (
        f'<path d="M{x0:.0f} {y0:.0f}C{x0:.0f} {middle:.0f} {x1:.0f} {middle:.0f} {x1:.0f} {y1:.0f}" fill="none" '
        'opacity="0.6" marker-end="url(#tip)"/>'
    )
