"""Tables as text that a page carries: by columns, names as numbers, numbers to as many digits as a chart can show."""

import json
from typing import Any

import numpy as np
import pandas as pd

DIGITS = 4


def packed(table: pd.DataFrame) -> dict[str, Any]:
    """The table by columns: {"names": [...], "codes": [...]} for text, a list for numbers, null for those missing.

    >>> packed(pd.DataFrame({"of": ["a", "b", "a"], "value": [1.0, 0.123456, float("nan")]}))
    {'of': {'names': ['a', 'b'], 'codes': [0, 1, 0]}, 'value': [1, 0.1235, None]}
    """
    return {str(name): _column(table[name]) for name in table}


def as_script(content: Any) -> str:
    """JSON that can stand inside a script element, whatever text is in it."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _column(column: pd.Series) -> Any:
    if not pd.api.types.is_numeric_dtype(column):
        codes, names = pd.factorize(column)
        return {"names": [str(name) for name in names], "codes": codes.tolist()}
    return [_short(value) for value in column.to_numpy(np.float64)]


def _short(value: float) -> float | int | None:
    """The number to a few digits; None where it is not finite."""
    if not np.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}") if not float(value).is_integer() else value
    return int(short) if short.is_integer() else short
