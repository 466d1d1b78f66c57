"""What the site of the documentation adds to the pages, and that every file that a page names is there."""

import doctest
import json
import re
import sys
from pathlib import Path

import pytest

from mcoherence.study import checks, schema_checks
from mcoherence.study.config_files import study_config

ROOT = Path(__file__).parents[3]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"), ROOT / "config/README.md"])
LARGEST_PICTURE = 400_000  # bytes; the repository keeps every version of each


@pytest.fixture
def extension(monkeypatch):
    """Imports a module of docs/_sphinx, as conf.py does."""
    monkeypatch.syspath_prepend(ROOT / "docs/_sphinx")
    yield lambda name: __import__(name)
    for path in (ROOT / "docs/_sphinx").glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.mark.parametrize("name", ["docstrings", "own_pages"])
def test_the_examples_of_the_extensions_give_what_they_show(extension, name):
    assert doctest.testmod(extension(name)).failed == 0


def test_mathematics_in_a_docstring_is_no_markup(extension):
    lines = ["alpha = |S|^2 / (n * Q)::", "", "    a * b | c", "", "and 2 * 3"]
    assert extension("docstrings").escaped_lines(lines) == [
        r"alpha = \|S\|^2 / (n \* Q)::", "", "    a * b | c", "", r"and 2 \* 3",
    ]  # fmt: skip


def test_a_chart_has_a_box_for_every_name_and_an_arrow_for_every_line_of_it(extension):
    chart = "flowchart LR\n  a --> b\n  b --> c\n  a --> c\n  c --> b\n"  # with a way back
    picture = extension("flowcharts").svg(chart)
    assert re.findall(r">(\w+)</text>", picture) == ["a", "b", "c"]
    assert picture.count('marker-end="url(#tip)"') == 4


def test_names_are_above_what_they_point_to(extension):
    picture = extension("flowcharts").svg("flowchart TD\n  top --> middle\n  middle --> low\n  top --> low\n")
    height = dict(re.findall(r'y="(\d+)" text-anchor="middle" stroke="none">(\w+)<', picture))
    assert [name for _, name in sorted((int(y), name) for y, name in height.items())] == ["top", "middle", "low"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_that_a_page_links_is_there(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\((?!http|#|mailto)([^)#\s]+)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_page_is_in_the_contents_of_the_site():
    contents = set(re.findall(r"^[\w-]+$", (ROOT / "docs/index.md").read_text(), flags=re.MULTILINE))
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"} <= contents


def test_no_picture_is_large():
    pictures = [path for path in (ROOT / "docs").rglob("*.png") if "captions" not in path.parts]
    assert len(pictures) > 8
    assert [path.name for path in pictures if path.stat().st_size > LARGEST_PICTURE] == []


@pytest.mark.parametrize("path", [".test/config.yaml", "config/README.md"])
def test_the_study_that_the_catalog_of_workflows_is_shown_is_valid(path, tmp_path):
    text = (ROOT / path).read_text()
    config = tmp_path / "study.yaml"
    config.write_text(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1] if path.endswith(".md") else text)
    study = study_config(ROOT / "config.yaml", [config], {}).config
    schema_checks.check_config(study, json.loads((ROOT / "schemas/config.schema.json").read_text()))
    checks.check_references(study)
