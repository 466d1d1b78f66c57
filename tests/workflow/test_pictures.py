"""The rule graph in the README is the workflow's."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def edges(mermaid: str) -> set[tuple[str, str]]:
    """(rule, rule that needs it) for every arrow of a mermaid flow chart, by the rules' names."""
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", mermaid))
    return {(names.get(a, a), names.get(b, b)) for a, b in re.findall(r"(\w+) --> (\w+)", mermaid)}


def test_the_rule_graph_of_the_readme_is_current(workflow_copy):
    (workflow_copy.folder / "miniature.yaml").write_text("study: miniature\n")  # segments as in the default study
    answer = workflow_copy.run("--rulegraph", "mermaid-js")
    assert answer.returncode == 0, answer.stdout
    picture = re.search(r"```mermaid\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert picture is not None
    assert edges(picture[1]) == edges(answer.stdout)
