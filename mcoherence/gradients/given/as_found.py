"""What a pass leaves behind, taken away again: a model and a loss keep what they saw last, and lists or tables of it.

Of a pass by vmap these would be tensors that nobody can use once the pass is over. So lists, sets and dictionaries that
can be reached from a model or a loss, those of attributes among them, get back what was in them.
"""

import functools
import types
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Objects that are looked through; a data set that somebody keeps may have millions.
MOST_OBJECTS = 20_000
# The engine's own functions: by its hooks on the layers all of it could be reached.
_OWN = __name__.rpartition(".given.")[0]
_WITHOUT_PARTS = (
    *(Tensor, np.ndarray, str, bytes, int, float, complex, bool, type(None), type, types.ModuleType),
    *(types.BuiltinFunctionType, torch.dtype, torch.device, torch.Generator),
)


@contextmanager
def left_as_found(*kept: Any) -> Iterator[None]:
    """Leave what can be reached from models, losses and other objects as it was: which things they hold, not values.

    Example:
        >>> layer = torch.nn.Linear(2, 3)
        >>> layer.seen = []
        >>> with left_as_found(layer):
        ...     layer.seen.append(1)
        ...     layer.last = 1
        >>> layer.seen, hasattr(layer, "last")
        ([], False)
    """
    found = _contents(kept)
    try:
        yield
    finally:
        for holder, before in found:
            _put_back(holder, before)


def _contents(kept: tuple[Any, ...]) -> list[tuple[Any, Any]]:
    """Everything that holds things, with a copy of what it holds."""
    found: list[tuple[Any, Any]] = []
    met: set[int] = set()
    stack = list(kept)
    while stack and len(met) < MOST_OBJECTS:
        one = stack.pop()
        if isinstance(one, _WITHOUT_PARTS) or id(one) in met:
            continue
        met.add(id(one))
        if isinstance(one, dict):
            found.append((one, dict(one)))
            stack.extend(one.values())
        elif isinstance(one, list | deque | set):
            found.append((one, list(one)))
            stack.extend(one)
        elif isinstance(one, tuple | frozenset):
            stack.extend(one)
        else:
            stack.extend(_parts(one))
    return found


def _parts(one: Any) -> list[Any]:
    """What a function, a method or another object refers to."""
    if isinstance(one, types.MethodType):
        return [one.__self__, one.__func__]
    if isinstance(one, types.FunctionType):
        if str(one.__module__).startswith(_OWN):
            return []
        cells = [cell for cell in one.__closure__ or () if _is_filled(cell)]
        return [*(cell.cell_contents for cell in cells), *(one.__defaults__ or ())]
    if isinstance(one, functools.partial):
        return [one.func, one.args, one.keywords]
    parts: list[Any] = [vars(one)] if hasattr(one, "__dict__") else []
    for kind in type(one).__mro__:
        names = vars(kind).get("__slots__", ())
        parts += [getattr(one, name, None) for name in ([names] if isinstance(names, str) else names)]
    return parts


def _is_filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _put_back(holder: Any, before: Any) -> None:
    if isinstance(holder, dict):
        for key in [key for key in holder if key not in before]:
            del holder[key]
        for key, value in before.items():
            if key not in holder or holder[key] is not value:
                holder[key] = value
    elif len(holder) != len(before) or any(one is not other for one, other in zip(holder, before, strict=True)):
        holder.clear()
        if isinstance(holder, set):
            holder.update(before)
        else:
            holder.extend(before)
