"""docs/result-files.md names every table, each of which has a module of its name."""

import importlib
import pkgutil
import re
from pathlib import Path

import mcoherence.tables

PAGE = (Path(__file__).parents[3] / "docs/result-files.md").read_text()


def test_the_tables_that_are_listed_are_those_that_can_be_made():
    listed = PAGE.partition("| table | a row for each |")[2].partition("\n\n")[0]
    modules = [name for _, name, _ in pkgutil.iter_modules(mcoherence.tables.__path__)]
    made = {name for name in modules if hasattr(importlib.import_module(f"mcoherence.tables.{name}"), "table")}
    assert set(re.findall(r"^\| `(\w+)` \|", listed, flags=re.MULTILINE)) == made
