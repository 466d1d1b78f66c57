"""Along which axis of a tensor its examples lie, and what becomes of that axis.

Index letter: n examples of a batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


class NotKnownError(Exception):
    """It is not known that an operation keeps examples apart."""


@dataclass(frozen=True)
class Examples:
    """A tensor that holds something of the examples.

    Index j along `axis` is of example (j // inner) % n: by itself (inner 1), or after a view that made one axis of
    several.
    """

    axis: int
    inner: int = 1


@dataclass(frozen=True)
class Constant:
    """A tensor that holds nothing of the examples.

    same: axes along which all its entries are the same whatever its length there, which may be that of the batch.
    """

    same: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Agreement:
    """Whether something holds for all examples, or for any. If it is `telling`, the same holds for each alone."""

    telling: bool


@dataclass(frozen=True)
class Counting:
    """A constant that counts 0, 1, ... along an axis, which may be the places of the examples in their batch."""

    axis: int


Kind = Examples | Constant
Found = Kind | Agreement | Counting


def viewed(kind: Examples, n: int, shape: Sequence[int], new_shape: Sequence[int]) -> Examples:
    """The same after a view as another shape, which keeps the order of the numbers.

    Raises:
        NotKnownError: the examples lie along no single axis then.
    """
    of_one = kind.inner * math.prod(shape[kind.axis + 1 :])  # so many numbers in a row are of one example
    if not of_one:
        raise NotKnownError
    for axis, length in enumerate(new_shape):
        below = math.prod(new_shape[axis + 1 :])
        if length >= n and of_one % below == 0 and (below * length) % (of_one * n) == 0:
            return Examples(axis, of_one // below)
    raise NotKnownError


def along(kind: Kind, new_axes: Sequence[int | None]) -> Kind:
    """The same where axis i of the tensor has become axis `new_axes[i]`, or is gone.

    Raises:
        NotKnownError: the axis of the examples is gone.
    """
    if isinstance(kind, Constant):
        return Constant(frozenset(new for old in kind.same if (new := new_axes[old]) is not None))
    axis = new_axes[kind.axis]
    if axis is None:
        raise NotKnownError
    return Examples(axis, kind.inner)


def without_examples(kind: Kind, shape: Sequence[int], n: int) -> tuple[object, ...]:
    """The kind and shape of a tensor, in words that do not tell how many examples there are."""
    if isinstance(kind, Constant):
        return ("constant", tuple(sorted(kind.same)), *(None if i in kind.same else m for i, m in enumerate(shape)))
    lengths = list(shape)
    lengths[kind.axis] //= n
    return ("examples", kind.axis, kind.inner, *lengths)


def broadcast(operands: Sequence[tuple[Kind, Sequence[int]]], dims: int) -> Kind:
    """The kind of what an operation of each number by itself gives, of operands that are broadcast.

    Args:
        operands: (kind, shape).
        dims: number of axes.

    Raises:
        NotKnownError: an operand has something else in the place of each example.
    """
    places = {(kind.axis - len(shape), kind.inner) for kind, shape in operands if isinstance(kind, Examples)}
    if not places:
        return Constant(frozenset(i for i in range(dims) if all(is_same(*one, i - dims) for one in operands)))
    if len(places) > 1:
        raise NotKnownError
    ((from_right, inner),) = places
    for kind, shape in operands:
        if isinstance(kind, Constant) and not is_same(kind, shape, from_right):
            raise NotKnownError
    return Examples(dims + from_right, inner)


def is_same(kind: Kind, shape: Sequence[int], from_right: int) -> bool:
    """Whether a constant operand is the same all along an axis, counted from the right (-1, -2, ...)."""
    axis = len(shape) + from_right
    return isinstance(kind, Constant) and (axis < 0 or shape[axis] == 1 or axis in kind.same)
