"""Rows of text, numbers and settings as a terminal shows them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def in_columns(rows: Sequence[Sequence[str]], numbers: int = 0) -> Iterator[str]:
    """Rows of text as lines, the last `numbers` columns to the right; the first row is a head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if place >= len(widths) - numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def four_digits(value: float) -> str:
    """Four digits of a number; a dash for NaN."""
    return "-" if value != value else f"{value:.4g}"


def rows_of_settings(settings: Any, key: str = "") -> list[list[str]]:
    """[key, value] of every innermost value of nested settings; lists of plain values count as one."""
    if isinstance(settings, Mapping) and settings:
        return [
            row for name, value in settings.items() for row in rows_of_settings(value, f"{key}.{name}" if key else name)
        ]
    if isinstance(settings, list) and any(isinstance(one, Mapping) for one in settings):
        return rows_of_settings({str(place): one for place, one in enumerate(settings)}, key)
    return [[key, json.dumps(settings)]]
