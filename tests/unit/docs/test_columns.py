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


MEASURED = {
    "bound", "coherence", "confusion", "contributions", "difficulty_coherence", "early_stopping", "examples",
    "group_alignment", "label_errors", "sample_size", "sweep",
}  # fmt: skip


def test_every_table_of_gradients_says_by_what_batch_norm_normalised():
    """Numbers by one choice are not comparable with those by another. The regressions of `toy` have no network."""
    assert {name for name in TABLES if "batch_norm" in header(name)} == MEASURED


@pytest.mark.parametrize("name", TABLES)
def test_alpha_and_mean_pairwise_alignment_stand_beside_m_coherence(name):
    """m-coherence grows with the sample; the other two can be compared between samples of different sizes."""
    columns = header(name)
    for place, column in enumerate(columns):
        which = column.removesuffix("m_coherence")
        if column == f"{which}m_coherence" and which not in ("cross_", "smoothed_"):  # of two groups; a curve to read
            assert columns[place + 1 : place + 3] == [f"{which}alpha", f"{which}pairwise_alignment"]


@pytest.mark.parametrize("name", TABLES)
def test_every_column_that_is_listed_is_described(name):
    assert len(header(name)) == len(set(header(name)))
    own = getattr(importlib.import_module(f"mcoherence.tables.{name}"), "COLUMNS", {})
    assert own.keys() <= set(header(name)) <= columns_of(name).keys()
