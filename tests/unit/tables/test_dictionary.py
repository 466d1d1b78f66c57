"""What the columns of the tables mean: of several tables in one place, of one table alone in its module."""

import importlib
import pkgutil

import pytest

import mcoherence.tables
from mcoherence.errors import UserError
from mcoherence.tables.columns import RUN_COLUMNS
from mcoherence.tables.dictionary import COLUMNS, dictionary

MODULES = {
    name: importlib.import_module(f"mcoherence.tables.{name}")
    for _, name, _ in pkgutil.iter_modules(mcoherence.tables.__path__)
}
OWN = {name: module.COLUMNS for name, module in MODULES.items() if hasattr(module, "COLUMNS") and name != "dictionary"}


def test_a_column_is_described_by_its_table_or_for_all_tables():
    table = dictionary([("accuracy", ["step", "loss"]), ("sweep", ["step", "value"])])
    assert table[["table", "column", "unit"]].to_numpy().tolist() == [
        ["accuracy", "step", "updates"], ["accuracy", "loss", "nats"],
        ["sweep", "step", "updates"], ["sweep", "value", ""],
    ]  # fmt: skip
    assert table["meaning"].str.len().gt(0).all()


def test_a_column_that_nothing_describes_is_refused():
    with pytest.raises(UserError, match=r"^table accuracy: found the column 'guess'.*mcoherence/tables/accuracy\.py$"):
        dictionary([("accuracy", ["step", "guess"])])
    with pytest.raises(UserError, match="table accuracy: found the column 'setting'"):  # of the table sweep alone
        dictionary([("accuracy", ["setting"])])


@pytest.mark.parametrize("name", OWN)
def test_no_table_gives_a_common_name_another_meaning(name):
    assert not OWN[name].keys() & COLUMNS.keys()


def test_no_two_tables_have_a_column_of_their_own_with_one_name():
    names = [column for columns in OWN.values() for column in columns]
    assert len(names) == len(set(names))


def test_the_columns_that_name_a_run_are_described():
    assert set(RUN_COLUMNS) <= COLUMNS.keys()
