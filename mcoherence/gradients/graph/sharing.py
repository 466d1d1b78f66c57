"""Which arguments of an operation do all examples share? Told by where they are in what comes out of it.

Index letters: n examples.

Weights, what is computed of them alone, and a table of positions have no axis of the examples. An operation that meets
the examples with such a tensor spreads it over them, or multiplies each of their rows with it.
"""

from collections.abc import Callable
from typing import Any

from mcoherence.gradients.graph.layout import Layout, Shape

# (node, shape of its output, which argument, shape of the argument, where the examples are in the output, n)
Sharing = Callable[[Any, Shape, int, Shape, Layout, int], bool]


def spread(node: Any, output: Shape, argument: int, shape: Shape, layout: Layout, examples: int) -> bool:
    """Of what goes element by element: a tensor without the axis of the examples, or with one entry along it."""
    place = layout[0] - (len(output) - len(shape))
    return output[layout[0]] > 1 and (place < 0 or shape[place] == 1)  # one entry in both may be that of one example


def _matrices(node: Any, output: Shape, argument: int, shape: Shape, layout: Layout, examples: int) -> bool:
    """(b)mm(a, b), or with a tensor that is added: rows of a are rows of the output, columns of b its columns."""
    first = 1 if node.name().startswith(("Addm", "Baddbmm")) else 0
    if argument < first:
        return spread(node, output, argument, shape, layout, examples)
    return layout[0] == len(output) - (2 if argument > first else 1)


def _repeated(node: Any, output: Shape, argument: int, shape: Shape, layout: Layout, examples: int) -> bool:
    """Along the axis of the examples: one entry, or the whole of it for each example, once or several times."""
    (axis, outer), repeats = layout, node._saved_repeats
    if len(shape) != len(output):
        return False
    whole = outer == 1 and repeats[axis] % examples == 0 and repeats[axis] > 0
    return whole or shape[axis] == 1 < output[axis]


def _normalized(node: Any, output: Shape, argument: int, shape: Shape, layout: Layout, examples: int) -> bool:
    return argument > 0 and layout[0] < len(output) - len(node._saved_normalized_shape)


def _table(node: Any, output: Shape, argument: int, shape: Shape, layout: Layout, examples: int) -> bool:
    return layout[0] == 0 and argument == 0 and len(output) >= len(shape)


def _indexed(node: Any, output: Shape, argument: int, shape: Shape, layout: Layout, examples: int) -> bool:
    """A table of as many rows as examples, once or several times, may be the examples themselves."""
    return _table(node, output, argument, shape, layout, examples) and shape[0] % examples != 0


def _bilinear(node: Any, output: Shape, argument: int, shape: Shape, layout: Layout, examples: int) -> bool:
    return layout[0] == 0 and argument == 1 and is_bilinear(node)


def is_bilinear(node: Any) -> bool:
    """Whether a product of three tensors is that of nn.Bilinear: sum_ij x_i w_oij y_j of [n, i], [o, i, j], [n, j]."""
    expanded = node._saved_expand1, node._saved_expand2, node._saved_expand3
    return expanded == ((1, 3), (0,), (1, 2)) and node._saved_sumdim == (2, 3)


def _all_but_the_first(node: Any, output: Shape, argument: int, shape: Shape, layout: Layout, examples: int) -> bool:
    return layout[0] == 0 and argument > 0


def _of_channels(node: Any, output: Shape, argument: int, shape: Shape, layout: Layout, examples: int) -> bool:
    return not node._saved_training and _all_but_the_first(node, output, argument, shape, layout, examples)


# By the names of operations, without "Backward" and a number. Those that go element by element are `spread`.
SHARING: dict[str, Sharing] = {
    **dict.fromkeys(("Mm", "Addmm", "Bmm", "Baddbmm"), _matrices),
    **dict.fromkeys(("Convolution", "ConvolutionOverrideable", "NativeGroupNorm", "Mv"), _all_but_the_first),
    **dict.fromkeys(("NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"), _of_channels),
    **dict.fromkeys(("NativeLayerNorm", "FusedRmsNorm"), _normalized),
    "Embedding": _table,
    "Index": _indexed,
    "Repeat": _repeated,
    "Trilinear": _bilinear,
}
