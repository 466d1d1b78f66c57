"""What a pass of ours leaves behind, taken away again: models and losses keep what they saw last, and tables of it.

The tensors of a pass by vmap are dead once it is over: nobody can compute with them. Those of a pass in float64 are of
another dtype than the model's. Whatever holds one of them gets back what it held before. All else that has changed
meanwhile stays, such as a counter, or what another thread has put into a queue.
"""

import dis
import functools
import operator
import types
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._C import _functorch

# Objects that are looked through, near ones first, and how many of a list or a table; those that are longer than the
# last are data sets and left alone.
MOST_OBJECTS, MOST_ENTRIES, MOST_KEPT = 30_000, 10_000, 100_000
# What has no things of a model in it. By our own hooks on the layers all of the engine could be reached.
_NOT_THE_USERS = (__name__.partition(".")[0], "torch", "numpy", "builtins", "collections", "functools", "typing", "abc")
_WITHOUT_PARTS = (
    *(Tensor, np.ndarray, str, bytes, int, float, complex, bool, type(None), types.ModuleType),
    *(types.BuiltinFunctionType, torch.dtype, torch.device, torch.Generator),
)
_HOLDING = (dict, list, deque, set)
_HOOKS = [name for name, value in vars(nn.Module()).items() if name.endswith("hooks") and isinstance(value, dict)]
_MISSING = object()


def is_of_vmap(tensor: Tensor) -> bool:
    """Whether a tensor is of a pass by torch.func, which is over."""
    return bool(_functorch.is_functorch_wrapped_tensor(tensor))


def is_double(tensor: Tensor) -> bool:
    """Whether a tensor is in float64, as those of a pass that a check makes in it."""
    return tensor.dtype in (torch.float64, torch.complex128)


@contextmanager
def no_leftovers_on(*kept: Any, of: Callable[[Tensor], bool] = is_of_vmap) -> Iterator[Callable[[], None]]:
    """Leave no new tensor of a pass where it can be reached from models, losses and other objects.

    Looked through are attributes and slots, lists, tables and sets, what functions and hooks refer to, classes, and the
    lists, tables and objects of the files that functions are in. Of long ones the first entries are, and what is new;
    very long ones are left alone.

    Args:
        kept: what is looked through.
        of: whether a tensor is such a one.

    Returns:
        What takes away what is left so far, to be called between two passes.

    Example:
        >>> layer = torch.nn.Linear(2, 3)
        >>> layer.seen = []
        >>> with no_leftovers_on(layer):
        ...     _ = torch.vmap(lambda x: (layer.seen.append(x), x)[1])(torch.ones(4, 2))
        >>> layer.seen
        []
    """
    roots = _with_modules(kept)
    known = {id(table): table for one in roots if _is(one, nn.Module) for table in _without_hooks(one)}
    found = []
    for one in _reached(roots, dict(known)):
        known[id(one)] = one  # and kept alive, so that nothing new gets its id
        found += [(place, place.now()) for place in _places_in(one)]

    def take_away() -> None:
        for place, before in found:
            if any(_is(one, Tensor) and of(one) for one in _reached(place.new_since(before), known)):
                place.put_back(before)

    try:
        yield take_away
    finally:
        take_away()


@dataclass(frozen=True)
class _Entries:
    """What is in a list, a deque, a set or a dictionary, such as the attributes of an object."""

    holder: Any

    def now(self) -> Any:
        # Nothing of a table's own, which might fill it: those of libraries load what they are asked for.
        return dict(dict.items(self.holder)) if isinstance(self.holder, dict) else list(self.holder)

    def new_since(self, before: Any) -> list[Any]:
        if isinstance(before, dict):
            return [one for key, one in self.now().items() if before.get(key, _MISSING) is not one]
        if len(before) == len(self.holder) and all(map(operator.is_, before, self.holder)):
            return []
        same = {id(one) for one in before}
        return [one for one in self.now() if id(one) not in same]

    def put_back(self, before: Any) -> None:
        if isinstance(self.holder, dict):
            for key in self.now().keys() - before.keys():
                del self.holder[key]
            for key, one in before.items():
                if dict.get(self.holder, key, _MISSING) is not one:
                    self.holder[key] = one
            return
        self.holder.clear()
        (self.holder.update if isinstance(self.holder, set) else self.holder.extend)(before)


@dataclass(frozen=True)
class _Named:
    """One thing by its name: in a slot, of a class, in a file, or of a function for one that was made in it."""

    holder: Any
    name: str

    def now(self) -> Any:
        if isinstance(self.holder, dict | type):
            return (self.holder if isinstance(self.holder, dict) else vars(self.holder)).get(self.name, _MISSING)
        try:
            return getattr(self.holder, self.name)
        except (AttributeError, ValueError):  # an empty slot, a variable without a value
            return _MISSING

    def new_since(self, before: Any) -> list[Any]:
        now = self.now()
        return [] if now is before or now is _MISSING else [now]

    def put_back(self, before: Any) -> None:
        if isinstance(self.holder, dict):
            self.holder[self.name] = before
            if before is _MISSING:
                del self.holder[self.name]
        elif before is _MISSING:
            delattr(self.holder, self.name)
        else:
            setattr(self.holder, self.name, before)


_Place = _Entries | _Named


def _with_modules(kept: Iterable[Any]) -> list[Any]:
    """What is to be looked through, and all modules of a model at once, lest they be too far away."""
    roots = list(kept)
    return [*roots, *(module for one in roots if isinstance(one, nn.Module) for module in one.modules())]


def _without_hooks(module: nn.Module) -> list[Any]:
    """The tables of hooks that a module does not have, which are most of what it holds."""
    return [table for name in _HOOKS if not (table := vars(module).get(name, True))]


def _reached(roots: Iterable[Any], known: Container[int] = ()) -> Iterator[Any]:
    """Each thing that can be reached, once, the nearest first; none of a known id, nor what only such refer to."""
    met: dict[int, Any] = {}
    waiting = deque(roots)
    while waiting and len(met) < MOST_OBJECTS:
        one = waiting.popleft()
        if id(one) in met or id(one) in known:
            continue
        met[id(one)] = one
        yield one
        if not _is(one, *_WITHOUT_PARTS):
            waiting.extend(_parts(one))


def _parts(one: Any) -> Iterable[Any]:
    """What a thing refers to."""
    if _is(one, dict):
        return islice(dict.values(one), MOST_ENTRIES)
    if _is(one, list, deque, set, tuple, frozenset):
        return islice(one, MOST_ENTRIES)
    if _is(one, types.MethodType):
        return one.__self__, one.__func__
    if _is(one, functools.partial):
        return one.func, one.args, one.keywords
    if _is_not_the_users(one):
        return ()
    held = [place.now() for place in _places_in(one)]
    if _is(one, types.FunctionType):
        used = [one.__globals__.get(name) for name in one.__code__.co_names]
        of_file = [each for each in used if _is(each, *_HOLDING) or _is_of_file(each, one.__globals__)]
        return *held, one.__defaults__, one.__kwdefaults__, one.__dict__, *of_file
    if _is(one, type):
        return *held, *one.__bases__, *vars(one).values()
    try:
        attributes = object.__getattribute__(one, "__dict__")
    except AttributeError:
        attributes = None
    return *held, attributes, type(one)


def _places_in(one: Any) -> Sequence[_Place]:
    """Where a thing itself holds others. Attributes are entries of a dictionary, which is a thing of its own."""
    if _is(one, *_HOLDING):
        return [_Entries(one)] if len(one) <= MOST_KEPT else []
    if _is(one, *_WITHOUT_PARTS) or _is_not_the_users(one):
        return []
    if _is(one, types.FunctionType):
        cells = [_Named(cell, "cell_contents") for cell in one.__closure__ or ()]
        return [*cells, *(_Named(one.__globals__, name) for name in _globals_written(one.__code__))]
    if _is(one, type):
        return [
            _Named(one, name) for name, value in vars(one).items() if not (name.startswith("__") or callable(value))
        ]
    return [_Named(one, name) for name in _slots(type(one))]  # type: ignore[arg-type]


@functools.cache
def _slots(kind: type[Any]) -> tuple[str, ...]:
    several = [vars(each).get("__slots__", ()) for each in kind.__mro__]
    flat = [name for names in several for name in ([names] if isinstance(names, str) else names)]
    return tuple(name for name in flat if name not in ("__dict__", "__weakref__"))


@functools.cache
def _globals_written(code: types.CodeType) -> tuple[str, ...]:
    steps = dis.get_instructions(code)
    return tuple(dict.fromkeys(step.argval for step in steps if step.opname == "STORE_GLOBAL"))


def _is_of_file(one: Any, names: dict[str, Any]) -> bool:
    """Whether a function or a class is of the file with these names, or an object's class is."""
    if _is(one, types.FunctionType):
        return one.__globals__ is names
    kind = one if _is(one, type) else type(one)
    return bool(vars(kind).get("__module__") == names.get("__name__"))


def _is(one: Any, *kinds: type) -> bool:
    return issubclass(type(one), kinds)  # and not `isinstance`, which asks things for their class, proxies too


def _is_not_the_users(one: Any) -> bool:
    """Whether a function or a class is of a library whose own things keep nothing of a model's."""
    if not _is(one, types.FunctionType, type):
        return False
    return str(getattr(one, "__module__", "")).partition(".")[0] in _NOT_THE_USERS
