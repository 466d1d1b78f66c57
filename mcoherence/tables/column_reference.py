"""What the columns of the tidy tables mean, as a page for a reader. Only `make schema` calls this."""

import importlib
import pkgutil
from collections.abc import Mapping

import mcoherence.tables
from mcoherence.tables import dictionary
from mcoherence.tables.columns import Column

MARKS = ("<!-- columns: `make schema` writes all that follows -->", "<!-- end of columns -->")


def page_of_columns(text: str) -> str:
    """The page with the part between its two marks as the tables are now."""
    before, begin, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    return f"{before}{begin}\n\n{columns_in_markdown()}\n{end}{after}"


def columns_in_markdown() -> str:
    """The columns that several tables have, then the further ones of each table, in Markdown."""
    sections = ["## Columns of several tables\n\n" + _table_of(dictionary.COLUMNS)]
    for name in tables():
        module = importlib.import_module(f"mcoherence.tables.{name}")
        own = getattr(module, "COLUMNS", {})
        said = (module.__doc__ or "").splitlines()[0]
        columns = _table_of(own) if own else "It has no columns but those above.\n"
        sections.append(f"## `{name}`\n\n{said}\n\n{columns}")
    return "\n".join(sections)


def tables() -> list[str]:
    """The names of all tables that a study can make."""
    names = [name for _, name, _ in pkgutil.iter_modules(mcoherence.tables.__path__)]
    return [name for name in names if hasattr(importlib.import_module(f"mcoherence.tables.{name}"), "table")]


def _table_of(columns: Mapping[str, Column]) -> str:
    rows = [f"| `{name}` | {_escaped(column.unit)} | {_escaped(column.meaning)} |" for name, column in columns.items()]
    return "\n".join(["| column | unit | meaning |", "| --- | --- | --- |", *rows, ""])


def _escaped(words: str) -> str:
    """Words in a cell of a table, where | and * are markup."""
    return words.replace("|", "\\|").replace("*", "\\*")
