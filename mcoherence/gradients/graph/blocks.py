"""Operations that change how the examples follow each other: views, what joins or cuts along their axis, and groups.

Index letters: n examples.
"""

import math
from collections.abc import Callable
from typing import Any

from mcoherence.gradients.graph.layout import Layout, Shape, Shapes, signed

# (node, which argument, shape of the argument, where the examples are in the output, n, shapes of nodes)
# -> where they are in the argument; None where that is not known
Following = Callable[[Any, int, Shape, Layout, int, Shapes], Layout | None]


def viewed(node: Any, argument: int, shape: Shape, layout: Layout, examples: int, known: Shapes) -> Layout | None:
    """Of what changes the shape alone: the axis in which the number of the example is whole."""
    (axis, outer), output = layout, known[node][0]
    before = math.prod(output[:axis]) * outer  # entries before the first of the second example come round again
    if not before:
        return None
    start = 1
    for place, size in enumerate(shape):
        if before % start == 0 and size and size % (before // start * examples) == 0:
            return place, before // start
        start *= size
        if not start:
            return None
    return None


def is_along(node: Any, shape: Shape, layout: Layout) -> bool:
    """Whether a node joins or cuts tensors along the axis of the examples."""
    return signed(node._saved_dim) % len(shape) == layout[0]


def joined_or_cut(
    node: Any, argument: int, shape: Shape, layout: Layout, examples: int, known: Shapes
) -> Layout | None:
    """Of what joins or cuts tensors along the axis of the examples: all examples follow each other in each block."""
    (axis, outer), outputs = layout, known[node]
    block = outputs[0][axis] // outer
    if shape[axis] % block or len({one[axis] for one in outputs}) > 1:
        return None
    name = node.name()
    if name.startswith("Cat"):
        before = [None if one is None else known[one][output][axis] for one, output in node.next_functions[:argument]]
        in_place = not any(size is None or size % block for size in before)
    elif name.startswith("Slice"):
        in_place = node._saved_step == 1 and signed(node._saved_start) % shape[axis] % block == 0
    else:
        in_place = True
    return (axis, shape[axis] // block) if in_place else None


def is_by_groups(node: Any, shape: Shape, layout: Layout) -> bool:
    """Whether the examples may be groups of a convolution's channels."""
    return layout[0] == 1


def convolved_by_groups(
    node: Any, argument: int, shape: Shape, layout: Layout, examples: int, known: Shapes
) -> Layout | None:
    """Of a convolution that has the examples as groups of its channels, each with kernels of its own."""
    place, outer = 1 if argument == 0 else 0, layout[1]
    whole = outer * examples
    if node._saved_transposed or node._saved_groups % whole or shape[place] % whole:
        return None
    return place, outer


def always(node: Any, shape: Shape, layout: Layout) -> bool:
    """True."""
    return True


# By the names of operations, without "Backward" and a number: when it is so, and where the examples are then.
FOLLOWING: dict[str, tuple[Callable[[Any, Shape, Layout], bool], Following]] = {
    **dict.fromkeys(("View", "UnsafeView", "ReshapeAlias", "Unsqueeze", "Squeeze", "Alias"), (always, viewed)),
    **dict.fromkeys(("Cat", "Slice", "Split", "SplitWithSizes"), (is_along, joined_or_cut)),
    "Convolution": (is_by_groups, convolved_by_groups),
}
