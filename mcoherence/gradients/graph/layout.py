"""Where the examples are in a tensor: along which axis, and how they follow each other there.

Index letters: n examples.

Along its axis of examples a tensor has a whole number of entries for each example. Those of the first example come
first; or, where positions come before examples and both are one axis, position by position. So a `Layout` is an axis
and the number of times that all examples follow each other along it.
"""

from typing import Any

from torch.autograd.graph import Node

Shape = tuple[int, ...]
Layout = tuple[int, int]
EXAMPLES_FIRST: Layout = (0, 1)
SHARED: Layout = (-1, 0)  # by all examples: no axis is theirs


class Shapes(dict[Node, list[Shape]]):
    """Of all outputs of nodes, asked for once."""

    def __missing__(self, node: Any) -> list[Shape]:
        found = self[node] = [tuple(one.shape) for one in node._input_metadata]
        return found


def may_hold(shape: Shape, layout: Layout, examples: int) -> bool:
    """Whether a tensor of this shape has a whole number of entries for each of n examples, and some."""
    axis, outer = layout
    if layout == SHARED or axis >= len(shape) or not shape[axis]:
        return False
    return shape[axis] % (outer * examples) == 0


def by_example(values: Any, layout: Layout, examples: int) -> Any:
    """A tensor whose axis of examples is as told, as [n, k, *others], k the entries of an example along that axis."""
    axis, outer = layout
    inner = values.shape[axis] // (outer * examples)
    if axis == 0 and outer == 1:
        return values.reshape(examples, inner, *values.shape[1:])
    if axis == 0 and inner == 1:
        return values.reshape(outer, examples, *values.shape[1:]).transpose(0, 1)
    split = values.reshape(*values.shape[:axis], outer, examples, inner, *values.shape[axis + 1 :])
    moved = split.movedim(axis + 1, 0)
    return moved.movedim((axis + 1, axis + 2), (1, 2)).flatten(1, 2)


def signed(axis: int) -> int:
    """Nodes hand negative numbers back as if they had no sign."""
    return axis - 2**64 if axis >= 2**63 else axis
