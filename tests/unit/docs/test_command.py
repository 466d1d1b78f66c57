"""What docs/command.md tells a reader to type is understood, and the page names every command."""

import re
import shlex
from pathlib import Path

import pytest

from mcoherence.command.main import COMMANDS, parser

PAGE = (Path(__file__).parents[3] / "docs/command.md").read_text()
LINES = re.findall(r"^mcoherence (.*)$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("line", LINES)
def test_commands_are_understood(line):
    assert parser().parse_args(shlex.split(line)).run is not None


def test_every_command_is_on_the_page():
    names = {module.__name__.rpartition(".")[2] for module in COMMANDS}
    assert {line.split()[0] for line in LINES} == names


def test_every_option_that_is_named_is_one():
    known = set(re.findall(r"--[a-z][\w-]*", "".join(_helps())))
    assert set(re.findall(r"`?(--[a-z][\w-]*)", PAGE)) <= known


def _helps():
    (commands,) = (action for action in parser()._actions if getattr(action, "choices", None))
    return (one.format_help() for one in commands.choices.values())
