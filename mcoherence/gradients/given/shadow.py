"""A copy of a model that shares its tensors: what a pass leaves on the copy is not left on the model.

Models and losses keep what they saw last, and lists or tables of it. Of a pass by vmap that would be tensors which
nobody can use once the pass is over.
"""

import copy
import types
from collections.abc import Callable
from typing import Any

from torch import nn


def shadow(model: nn.Module, loss_fn: Callable[..., Any]) -> tuple[nn.Module, Callable[..., Any]]:
    """Copies of a model and of a loss function, with modules, lists, tuples and dictionaries of their own.

    Everything else is shared: tensors, functions, and whatever objects a module keeps. A loss that is a function is
    itself; one that is a module or has attributes is copied with these.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> copied, _ = shadow(layer, nn.MSELoss())
        >>> copied is layer, copied.weight is layer.weight
        (False, True)
    """
    copies: dict[int, Any] = {}
    return _copied(model, copies), _copied_loss(loss_fn, copies)


def _copied(value: Any, copies: dict[int, Any]) -> Any:
    found: Any = value
    if id(value) in copies:
        return copies[id(value)]
    if isinstance(value, nn.Module):
        kind: Any = type(value)
        copies[id(value)] = found = kind.__new__(kind)
        vars(found).update({name: _copied(one, copies) for name, one in vars(value).items()})
    elif isinstance(value, dict):
        copies[id(value)] = found = copy.copy(value)
        for key, one in value.items():
            found[key] = _copied(one, copies)
    elif isinstance(value, list):
        copies[id(value)] = found = copy.copy(value)
        found[:] = [_copied(one, copies) for one in value]
    elif type(value) is tuple:
        found = tuple(_copied(one, copies) for one in value)
    elif isinstance(value, types.MethodType) and isinstance(value.__self__, nn.Module):
        found = types.MethodType(value.__func__, _copied(value.__self__, copies))
    elif isinstance(value, set):
        found = copy.copy(value)
    return found


def _copied_loss(loss_fn: Any, copies: dict[int, Any]) -> Any:
    if isinstance(loss_fn, nn.Module):
        return _copied(loss_fn, copies)
    if isinstance(loss_fn, types.MethodType):
        return types.MethodType(loss_fn.__func__, _copied_loss(loss_fn.__self__, copies))
    if isinstance(loss_fn, types.FunctionType | types.BuiltinFunctionType | type) or not hasattr(loss_fn, "__dict__"):
        return loss_fn
    found = copy.copy(loss_fn)
    for name, one in vars(loss_fn).items():
        object.__setattr__(found, name, _copied_loss(one, copies) if callable(one) else _copied(one, copies))
    return found
