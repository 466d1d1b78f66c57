"""docs/architecture.md sends its reader to files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/architecture.md").read_text()
# Named from the root, or by the room that they are in.
FOLDERS = (ROOT, ROOT / "mcoherence")
# NAME stands for what a reader writes; results/ and tables of a study are made by it.
PATHS = sorted(
    {path for path in re.findall(r"`([\w./]+(?:/|\.\w+))`", PAGE) if "NAME" not in path and path != "claims.json"}
    - {"evaluation.h5", "tables/accuracy.parquet"}
)


@pytest.mark.parametrize("path", PATHS)
def test_a_file_that_the_page_names_is_there(path):
    assert any((folder / path).exists() for folder in FOLDERS)


def test_the_page_names_the_places_to_add_something():
    questions = re.findall(r"^\| ([\w ]+) \|", PAGE.partition("## Where do I add")[2], re.MULTILINE)
    assert {"optimiser", "network", "data set", "experiment", "figure", "claim"} <= set(questions)
    assert any("layer rule" in question for question in questions)
    for room in ("optim", "models", "data", "study/experiments", "tables", "figures", "claims"):
        assert f"`mcoherence/{room}/" in PAGE
