"""Is row i of what a layer hands on that of example i? Read off autograd's graph, between the losses and the layer.

Index letters: n examples.

A rule takes the rows of a layer's output gradient for those of the examples. That the layer has as many rows as there
are examples does not make it so: rows may be selected by content, sorted, repeated, or be positions of which there are
by chance as many. From the losses, one for each example, down to a layer, every operation is therefore looked at, and
the axis of the examples followed through it. The operations listed here keep the examples apart and in their order
along that axis where their shapes and settings say so; at any other the layers below are in doubt, and `probe` settles
it by a second backward pass.

Other tensors the examples share (`sharing`); all that is below such an argument is shared too, whatever operations
these are.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch.autograd.graph import Node

from mcoherence.gradients.graph.blocks import FOLLOWING
from mcoherence.gradients.graph.layout import EXAMPLES_FIRST, SHARED, Layout, Shape, Shapes, may_hold, signed
from mcoherence.gradients.graph.recurrent_gates import axis_of_examples
from mcoherence.gradients.graph.sharing import SHARING, Sharing, is_bilinear, spread
from mcoherence.gradients.graph.walk import Users, users_first

# (node, shape of its output, which argument, shape of the argument, axis of the examples in the output)
# -> the axis of the examples in the argument; None where it is not known, or not known to be in order
Rule = Callable[[Any, Shape, int, Shape, int], int | None]


def in_doubt(users: Users, layers: Iterable[Node], examples: int) -> bool:
    """Whether an operation above one of the `layers`, the nodes of their outputs, may have moved the examples' rows.

    Args:
        users: the graph below the losses, bridged across the calls of layers that keep the examples apart themselves.
        layers: nodes of the outputs of layers.
        examples: their number, n.
    """
    targets = {node for node in layers if node in users}
    found, sure = layouts(users, targets, examples)
    return not sure or any(found.get(node) != EXAMPLES_FIRST for node in targets)


def layouts(users: Users, targets: Iterable[Node], examples: int) -> tuple[dict[Node, Layout], bool]:
    """Where the examples are in the outputs of the nodes above the targets and of these, and whether that is sure.

    What they share is `SHARED`. Where it is not sure, a node may be missing, and what is told of the others has to be
    tried (`probe`).
    """
    found: dict[Node, Layout] = {}
    sure, shapes = True, Shapes()
    for node in users_first(targets, users):
        if len(users[node]) == 1:  # most nodes
            user, argument = users[node][0]
            layout = _told_by(user, argument, node, examples, found.get(user), shapes)
            if layout is None:
                sure = False
            else:
                found[node] = layout
            continue
        told = [_told_by(user, argument, node, examples, found.get(user), shapes) for user, argument in users[node]]
        seen = {layout: None for layout in told if layout is not None} if told else {EXAMPLES_FIRST: None}
        sure = sure and len(seen) == 1 and None not in told
        # What is shared on one way and not on the other is neither.
        if len(seen) == 1 or (seen and SHARED not in seen):
            found[node] = next(iter(seen))
    return found, sure


def _told_by(
    user: Node, argument: int | None, node: Node, examples: int, here: Layout | None, shapes: Shapes
) -> Layout | None:
    """Where the examples are in a node's output by what one of its users has them, `here`."""
    if here is None or here == SHARED:
        return here if argument is not None else None
    if argument is None:  # across a call
        return here if here == EXAMPLES_FIRST else None
    return _layout_of_argument(user, argument, node, examples, here, shapes)


@dataclass(frozen=True)
class _Operation:
    """What is known of an operation by its name.

    axis: the rule for its arguments that have the examples, and as it has them.
    shares: whether an argument is one that all examples share.
    follows: when the examples follow each other otherwise in an argument, and how.
    """

    axis: Rule
    shares: Sharing | None
    follows: Any


@cache
def _operation_named(name: str) -> _Operation:
    plain = re.sub(r"Backward\d+$", "", name)
    rule = _BY_NAME.get(plain, _unknown)
    return _Operation(rule, SHARING.get(plain, spread if rule is _elementwise else None), FOLLOWING.get(plain))


def _layout_of_argument(
    user: Any, argument: int, node: Any, examples: int, layout: Layout, known: Shapes
) -> Layout | None:
    axis, outer = layout
    try:
        operation, output, shapes = _operation_named(user.name()), known[user][0], known[node]
        shape = shapes[0] if len(shapes) == 1 else shapes[user.next_functions[argument][1]]
        if shape == output and operation.axis is _elementwise:  # most operations of most networks
            return layout
        if not may_hold(output, layout, examples):
            return None
        if operation.shares is not None and operation.shares(user, output, argument, shape, layout, examples):
            return SHARED
        if not shape:
            return None
        if operation.follows is not None and operation.follows[0](user, shape, layout):
            found: Layout | None = operation.follows[1](user, argument, shape, layout, examples, known)
            return found
        place = operation.axis(user, output, argument, shape, axis)
        return (place, outer) if place is not None and shape[place] == output[axis] else None
    except (AttributeError, IndexError, RuntimeError, TypeError):  # an operation that does not tell what it did
        return None


def _unknown(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    return None


def _elementwise(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    """Element by element; an argument that is spread along the axis of the examples has none."""
    place = axis - (len(output) - len(shape))
    return place if place >= 0 and shape[place] == output[axis] else None


def _batched(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    """One by one along the first axis, whatever happens to the others."""
    return 0 if axis == 0 and shape[0] == output[0] else None


def _batched_matrices(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    """bmm(a, b), or baddbmm(c, a, b): examples along the batch, the rows of a, or the columns of b."""
    first = 1 if node.name().startswith("Baddbmm") else 0
    if argument < first:
        return _elementwise(node, output, argument, shape, axis)
    return axis if axis in (0, 1 + argument - first) and shape[axis] == output[axis] else None


def _matrices(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    """mm(a, b), or addmm(c, a, b): examples along the rows of a, or the columns of b."""
    first = 1 if node.name().startswith("Addm") else 0
    if argument < first:
        return _elementwise(node, output, argument, shape, axis)
    return axis if axis == argument - first and shape[axis] == output[axis] else None


def _attention(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    """Query, key and value; what is added to the scores may be spread over the examples."""
    return axis if argument < 3 and axis < len(output) - 2 and shape[axis] == output[axis] else None


def _first_argument(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    """As `_batched`, by the first argument; the others are weights."""
    return _batched(node, output, argument, shape, axis) if argument == 0 else None


def _rows(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    """Products of a matrix's rows with a vector."""
    return axis if argument == 0 else None


def _bilinear(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    """sum_ij x_i w_oij y_j of [n, i], [o, i, j] and [n, j], as nn.Bilinear has it."""
    return axis if axis == 0 and argument != 1 and is_bilinear(node) else None


def _ctc(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    """Losses [n] of log probabilities [t, n, classes]."""
    return len(shape) - 2 if axis == 0 and argument == 0 and len(shape) == 3 else None


def _along(attribute: str) -> Rule:
    """Along the axes that the node names, none of which may be that of the examples; a reduced one may be gone."""

    def rule(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
        named = getattr(node, attribute)
        count = max(len(shape), len(output))
        axes = {signed(one) % count for one in (named if isinstance(named, tuple | list) else [named])}
        if not axes:  # along all of them
            return None
        if len(shape) > len(output):
            place = [i for i in range(len(shape)) if i not in axes][axis]
        elif len(shape) < len(output):
            place = axis - sum(one < axis for one in axes)
            axes = {place} if axis in axes else set()
        else:
            place = axis
        return place if place not in axes and shape[place] == output[axis] else None

    return rule


def _transposed(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    one, other = (signed(value) % len(shape) for value in (node._saved_dim0, node._saved_dim1))
    return {one: other, other: one}.get(axis, axis)


def _turned(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    return 1 - axis if len(shape) == 2 else None


def _permuted(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    return signed(node._saved_dims[axis]) % len(shape)


def _sliced(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    """Along another axis, or all of this one; axes that come or go do so after the last."""
    return axis if shape[axis] == output[axis] else None


def _repeated(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    return axis if len(shape) == len(output) and node._saved_repeats[axis] == 1 else None


def _padded(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    here = 2 * (len(shape) - 1 - axis)
    return axis if not any(node._saved_pad[here : here + 2]) else None


def _normalized(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    return axis if argument == 0 and axis < len(shape) - len(node._saved_normalized_shape) else None


def _batch_norm(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    return None if node._saved_training else _first_argument(node, output, argument, shape, axis)


def _strided(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    """What torch does to the layout of a channel's mean: the same elements in the same places."""
    if len(node._saved_stride) != len(shape):  # of the tensor that this is a view of
        return None
    strides = (math.prod(shape[place + 1 :]) for place in range(len(shape)))
    in_order = all(
        size == 1 or one == other for size, one, other in zip(shape, node._saved_stride, strides, strict=True)
    )
    same = output == shape and in_order and not node._saved_storage_offset
    of_mean = node.next_functions[0][0].name().startswith("Mean") and len(shape) > 2 and math.prod(shape[2:]) == 1
    return 0 if axis == 0 and same and of_mean else None


def _recurrent(node: Any, output: Shape, argument: int, shape: Shape, axis: int) -> int | None:
    """Each sequence by itself, whichever the argument."""
    return axis if axis == axis_of_examples(node) and shape[axis] == output[axis] else None


_NAMES: dict[Rule, str] = {
    _elementwise: (
        "Add Sub Rsub Mul Div Neg Abs Exp Exp2 Expm1 Log Log2 Log10 Log1P Sqrt Rsqrt Pow Reciprocal Sin Cos Tan Sinh "
        "Cosh Tanh Asin Acos Atan Atan2 Sigmoid Relu Gelu Silu Elu Celu LeakyRelu Hardtanh Hardswish Hardsigmoid "
        "Softplus Mish LogSigmoid Threshold Softshrink Hardshrink Erf Erfc Erfinv Lgamma Digamma "
        "Sgn Sign Round Floor Ceil Trunc Frac Fmod Remainder Clamp ClampMin ClampMax Maximum Minimum Where MaskedFill "
        "Lerp Addcmul Addcdiv Clone ToCopy NanToNum NativeDropout FusedDropout MseLoss SmoothL1Loss HuberLoss L1Loss "
        "BinaryCrossEntropy BinaryCrossEntropyWithLogits KlDiv SoftMarginLoss PreluKernel Real Imag Conj ConjPhysical "
        "Complex Angle Expand Xlogy Logit Sinc Hypot Copysign"
    ),
    _batched: (
        "NllLoss NllLoss2D MultiMarginLoss MultilabelMarginLoss AvgPool2D AvgPool3D MaxPool2DWithIndices "
        "MaxPool3DWithIndices "
        "MkldnnMaxPool2D AdaptiveAvgPool2D AdaptiveAvgPool3D MkldnnAdaptiveAvgPool2D AdaptiveMaxPool2D "
        "AdaptiveMaxPool3D FractionalMaxPool2D UpsampleNearest1D UpsampleNearest2D UpsampleNearest3D UpsampleLinear1D "
        "UpsampleBilinear2D UpsampleBicubic2D UpsampleTrilinear3D UpsampleBilinear2DAa UpsampleBicubic2DAa "
        "ReflectionPad1D ReflectionPad2D ReflectionPad3D ReplicationPad1D ReplicationPad2D ReplicationPad3D "
        "PixelShuffle PixelUnshuffle ChannelShuffle Im2Col Col2Im GridSampler2D GridSampler3D"
    ),
    _attention: (
        "ScaledDotProductFlashAttentionForCpu ScaledDotProductFlashAttention ScaledDotProductEfficientAttention "
        "ScaledDotProductCudnnAttention ScaledDotProductFusedAttentionOverrideable"
    ),
    _first_argument: "Convolution ConvolutionOverrideable NativeGroupNorm",
    _rows: "Mv",
    _bilinear: "Trilinear",
    _ctc: "CtcLoss",
    _matrices: "Mm Addmm",
    _batched_matrices: "Bmm Baddbmm",
    _along("_saved_dim"): (
        "Softmax LogSoftmax SafeSoftmax Sum Mean Amax Amin Max Min Var Std VarMean StdMean Norm LinalgVectorNorm "
        "Logsumexp Prod "
        "Cat Stack Cumsum Cumprod Logcumsumexp Gather Split SplitWithSizes UnsafeSplit UnsafeSplitWithSizes Unbind "
        "Select Sort Topk IndexSelect Glu "
        "Median Kthvalue Mode Nanmedian Nansum Aminmax"
    ),
    _along("_saved_dims"): "Flip Roll",
    _transposed: "Transpose",
    _turned: "T",
    _permuted: "Permute",
    _sliced: "Slice ViewAsReal ViewAsComplex",
    _repeated: "Repeat",
    _padded: "ConstantPadNd",
    _normalized: "NativeLayerNorm FusedRmsNorm",
    _batch_norm: "NativeBatchNorm CudnnBatchNorm MiopenBatchNorm",
    _strided: "AsStrided",
}
_BY_NAME: dict[str, Rule] = {name: rule for rule, names in _NAMES.items() for name in names.split()}
_BY_NAME["GatesBackward"] = _recurrent  # of `recurrent_gates`; nodes of an autograd Function have no number
