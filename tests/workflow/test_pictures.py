"""The rule graph in docs/architecture.md is the workflow's."""

import re
from functools import reduce
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).parents[2]
SECOND_ROUND = ("split_easy_hard", "train")  # training on the subsets: the one arrow that goes back


def edges(mermaid: str) -> set[tuple[str, str]]:
    """(rule, rule that needs it) for every arrow of a mermaid flow chart, by the rules' names."""
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", mermaid))
    return {(names.get(a, a), names.get(b, b)) for a, b in re.findall(r"(\w+) --> (\w+)", mermaid)}


def joined(rules: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The arrows with all figures as one rule, and all that trains."""
    alike = {r"^draw_.*": "draw_figures", r"^train_otherwise_\d+$": "train"}  # rules that differ in settings alone
    return {(*(reduce(lambda name, one: re.sub(*one, name), alike.items(), rule) for rule in edge),) for edge in rules}


def picture_of(rules: set[tuple[str, str]]) -> str:
    """The chart for a reader: like rules as one, no arrow that follows from others, and none from a rule to itself."""
    direct = nx.transitive_reduction(nx.DiGraph({(a, b) for a, b in joined(rules) - {SECOND_ROUND} if a != b}))
    return "flowchart LR\n" + "".join(f"  {a} --> {b}\n" for a, b in sorted({*direct.edges, SECOND_ROUND}))


def test_the_rule_graph_of_the_documentation_is_current(workflow_copy):
    (workflow_copy.folder / "miniature.yaml").write_text("study: miniature\n")  # segments as in the default study
    answer = workflow_copy.run("--rulegraph", "mermaid-js")
    assert answer.returncode == 0, answer.stdout
    rules = edges(answer.stdout)
    assert SECOND_ROUND in joined(rules)
    picture = picture_of(rules)
    assert f"```mermaid\n{picture}```" in (ROOT / "docs/architecture.md").read_text(), f"the chart is now\n{picture}"


def test_the_picture_joins_figures_and_leaves_out_what_follows():
    rules = {("a", "b"), ("b", "draw_x"), ("a", "draw_x"), ("a", "draw_y"), ("train", "split_easy_hard"), SECOND_ROUND}
    assert picture_of(rules) == (
        "flowchart LR\n  a --> b\n  b --> draw_figures\n  split_easy_hard --> train\n  train --> split_easy_hard\n"
    )
