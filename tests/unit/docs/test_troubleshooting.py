"""Every message that docs/troubleshooting.md explains is one that something here prints."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/troubleshooting.md").read_text()
OF_OTHERS = {"Directory cannot be locked", "No module named", "Killed"}  # Snakemake's, Python's and the kernel's
MESSAGES = [
    piece.strip()
    for row in re.findall(r"^\| ([^|]*`[^|]*) \|", PAGE, flags=re.MULTILINE)
    for message in re.findall(r"`([^`]+)`", row)
    for piece in message.split("...")
]


@cache
def said() -> str:
    """The text of all that prints a message, strings that go on in the next line as one."""
    files = [*ROOT.glob("mcoherence/**/*.py"), *ROOT.glob("workflow_scripts/**/*.py"), *ROOT.glob("envs/*.py")]
    text = "\n".join(path.read_text() for path in [*files, ROOT / "Makefile", ROOT / "Snakefile"])
    return re.sub(r"\"\s*\n\s*f?\"", "", text)


@pytest.mark.parametrize("message", sorted(set(MESSAGES) - OF_OTHERS - {"not tested", "inconclusive"}))
def test_a_message_that_is_explained_is_printed_somewhere(message):
    assert message in said()


def test_the_page_explains_the_mistakes_of_a_beginner():
    assert len(MESSAGES) > 20
