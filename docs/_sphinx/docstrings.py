"""Docstrings as they are written, with |S| for a norm and * for a product, in the markup that Sphinx reads."""

import dataclasses
import re
from typing import Any

# What is code already: literals, and the lines of an example.
CODE = re.compile(r"(``?[^`]+``?)")


def setup(app: Any) -> dict[str, bool]:
    """Register the change of each docstring; napoleon's own comes later and finds the sections as they were."""
    app.connect("autodoc-process-docstring", escaped, priority=400)
    return {"parallel_read_safe": True}


def escaped(_app: Any, _what: str, _name: str, obj: Any, _options: Any, lines: list[str]) -> None:
    """Escape, in place, the signs of mathematics that are markup to docutils, and list the fields of a dataclass."""
    lines[:] = escaped_lines(lines)
    if dataclasses.is_dataclass(obj):
        lines[:] = with_list_of_fields(lines, {field.name for field in dataclasses.fields(obj)})


def with_list_of_fields(lines: list[str], fields: set[str]) -> list[str]:
    """The lines with a list of those that describe fields, which our dataclasses have one after the other.

    Example:
        >>> with_list_of_fields(["What is known.", "", "n: how many.", "path: of the", "file.", ""], {"n", "path"})
        ['What is known.', '', '- ``n``: how many.', '- ``path``: of the', '  file.', '']
    """
    found, listed = [], False
    for line in lines:
        names, _, words = line.partition(": ")
        begins = bool(words) and set(names.split(", ")) <= fields
        listed = begins or (listed and bool(line.strip()))
        if begins:
            line = f"- {', '.join(f'``{name}``' for name in names.split(', '))}: {words}"
        found.append(line if begins or not listed else f"  {line}")
    return found


def escaped_lines(lines: list[str]) -> list[str]:
    r"""The lines with | and * escaped outside of code.

    Example:
        >>> escaped_lines(["|S|^2 / (n * Q), see `a | b`", ">>> 2 * 3", "6"])
        ['\\|S\\|^2 / (n \\* Q), see `a | b`', '>>> 2 * 3', '6']
    """
    found, in_example, literal_indent = [], False, None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line.strip() and literal_indent is not None and indent <= literal_indent:
            literal_indent = None
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        code = in_example or literal_indent is not None
        found.append(line if code else _escaped(line))
        if not code and line.rstrip().endswith("::"):
            literal_indent = indent
    return found


def _escaped(line: str) -> str:
    parts = CODE.split(line)
    return "".join(part if index % 2 else re.sub(r"([|*])", r"\\\1", part) for index, part in enumerate(parts))
