"""Every caption names the tables of its figure; sections and figures of the report are numbered, each once."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPTS = {path.stem.removeprefix("draw_"): path for path in (ROOT / "workflow_scripts").glob("draw_*.py")}


def tables_of(script: Path) -> set[str]:
    """The tables that a command reads: those that it names to `draw`; or the paths of its `parse`, and what else."""
    (call,) = (
        node
        for node in ast.walk(ast.parse(script.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("draw", "parse")
    )
    if getattr(call.func, "id", "") == "draw":
        return set(ast.literal_eval(call.args[1]))
    arguments = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    return {*arguments["paths"], *arguments.get("options", {})} - {"png", "pdf"}


@pytest.mark.parametrize("figure", SCRIPTS)
def test_a_caption_names_the_tables_of_its_figure(figure):
    caption = (ROOT / f"docs/captions/figures/{figure}.rst").read_text()
    assert set(re.findall(r"``tables/(\w+)\.csv``", caption)) == tables_of(SCRIPTS[figure])


def test_sections_and_figures_are_numbered_once():
    text = (ROOT / "rules/figures.smk").read_text()
    sections = re.findall(r'^[A-Z_]+ = "(\d)\. ', text, flags=re.MULTILINE)
    assert sections == sorted(set(sections))
    figures = re.findall(r'"(\d\.\d) ', text)
    assert len(figures) == len(set(figures)) == len(SCRIPTS) - 1  # the summary has a section to itself
