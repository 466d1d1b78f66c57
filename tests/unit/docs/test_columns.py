"""docs/columns.md has a section with rows and columns for every table that can be made, and describes its columns."""

import importlib
import pkgutil

import pytest

import mcoherence.tables
from mcoherence.tables.column_reference import TABLES, header
from mcoherence.tables.dictionary import columns_of


def test_the_tables_that_are_listed_are_those_that_can_be_made():
    modules = [name for _, name, _ in pkgutil.iter_modules(mcoherence.tables.__path__)]
    assert TABLES.keys() == {
        name for name in modules if hasattr(importlib.import_module(f"mcoherence.tables.{name}"), "table")
    }


@pytest.mark.parametrize("name", TABLES)
def test_every_column_that_is_listed_is_described(name):
    assert len(header(name)) == len(set(header(name)))
    own = getattr(importlib.import_module(f"mcoherence.tables.{name}"), "COLUMNS", {})
    assert own.keys() <= set(header(name)) <= columns_of(name).keys()
