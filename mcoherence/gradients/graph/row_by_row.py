"""Calls of torch's that keep the rows of tensors apart, by name and arguments, and where a call moves them.

Index letter: n examples.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket

# Of the first argument nothing but its shape is used.
BY_SHAPE = {
    *("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"),
    *("new_tensor", "size", "dim", "numel", "stride", "is_floating_point", "is_complex"),
}
# All of whose elements are the same.
UNIFORM = {
    *("zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like"),
    *("new_zeros", "new_ones", "new_full", "new_empty", "fill", "zero"),
}
ELEMENTWISE = {
    *("add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "true_divide", "floor_divide", "remainder"),
    *("fmod", "pow", "neg", "negative", "abs", "absolute", "exp", "log", "log1p", "sqrt", "rsqrt", "square", "sign"),
    *("reciprocal", "sigmoid", "tanh", "relu", "gelu", "silu", "sin", "cos", "floor", "ceil", "round", "trunc"),
    *("clamp", "clamp_min", "clamp_max", "clip", "maximum", "minimum", "where", "masked_fill", "lerp", "dropout"),
    *("eq", "ne", "lt", "le", "gt", "ge", "less", "greater", "not_equal", "logical_and", "logical_or", "logical_not"),
    *("logical_xor", "bitwise_and", "bitwise_or", "bitwise_not", "isnan", "isinf", "isfinite", "nan_to_num"),
    *("to", "float", "double", "half", "bfloat16", "int", "long", "short", "bool", "type", "type_as", "clone"),
    *("contiguous", "detach", "requires_grad", "cpu", "cuda", "copy", "mse_loss", "l1_loss", "smooth_l1_loss"),
    *("huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss"),
    *("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__", "__pow__"),
    *("__rpow__", "__floordiv__", "__rfloordiv__", "__mod__", "__neg__", "__abs__", "__invert__", "__and__", "__or__"),
    *("__xor__", "__rand__", "__ror__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"),
    "scaled_dot_product_attention",  # whose masks are added to scores, with as many axes
}
# The rows of the first argument stay rows if there are as many afterwards; where it is repeated, if there are as many
# axes too.
RESHAPING = {"view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze", "view_as"}
_REPEATING = {"expand", "expand_as", "repeat", "broadcast_to"}
REARRANGING = {
    *RESHAPING, *_REPEATING, "transpose", "permute", "t", "T", "mT", "movedim", "swapaxes", "moveaxis", "swapdims",
}  # fmt: skip
# Along the axis that they are told second.
_ALONG = {
    *("sum", "mean", "prod", "any", "all", "amax", "amin", "argmax", "argmin", "max", "min", "cumsum", "cumprod"),
    *("softmax", "log_softmax", "logsumexp", "sort", "argsort", "gather", "count_nonzero", "std", "var"),
    *("cat", "concat", "stack"),
}
# Of the first argument, with as many axes as said here or more; the others are the same for all examples.
_LAYERS = {
    **{"linear": 2, "embedding": 1, "one_hot": 1, "group_norm": 3, "interpolate": 3, "conv1d": 3, "conv2d": 4},
    **{"conv3d": 5, "max_pool1d": 3, "max_pool2d": 4, "max_pool3d": 5, "avg_pool1d": 3, "avg_pool2d": 4},
    **{"avg_pool3d": 5, "adaptive_avg_pool1d": 3, "adaptive_avg_pool2d": 4, "adaptive_avg_pool3d": 5},
    **{"adaptive_max_pool1d": 3, "adaptive_max_pool2d": 4, "adaptive_max_pool3d": 5},
}
# Of outputs [n, C, *] and targets [n, *].
_LOSSES = {"cross_entropy", "nll_loss", "multi_margin_loss"}


def keeps_apart(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], unseen: Sequence[Tensor], made: Sequence[Tensor]
) -> bool:
    """Whether what a call made of tensors [n, ...] without a gradient has the examples first, each made of its row.

    What it was given besides is the same for all examples, or has a gradient.
    """
    first = unseen[0]
    if name == "embedding" and first.is_floating_point():  # a table that is looked up in
        return False
    if not made or any(not one.dim() or len(one) != len(first) or not first.dim() for one in (*unseen, *made)):
        return False
    if name in ELEMENTWISE:
        fits = made[0].dim() > 2 or name != "scaled_dot_product_attention"
        return fits and all(one.dim() == made[0].dim() for one in unseen)
    if name in _ALONG:
        dim = max((one.dim() for one in tensors_in(args[:1])), default=0) + (name == "stack")
        return _is_along_others(args[1] if len(args) > 1 else kwargs.get("dim"), dim)
    if name in _LOSSES:
        return True
    if len(unseen) > 1 or not args or args[0] is not first:
        return False
    if name in REARRANGING and axis_after(name, args, made, 0) == 0:
        return True
    if name in ("__getitem__", "__setitem__"):
        return _takes_all_rows(args[1], first.dim())
    if name in ("pad", "layer_norm", "rms_norm"):  # of the last axes: as many as there are numbers, or pairs of them
        told = args[1] if len(args) > 1 and isinstance(args[1], tuple | list) else ()
        axes = -(-len(told) // 2) if name == "pad" else len(told)
        return bool(0 < axes < first.dim())
    if name in ("matmul", "__matmul__"):
        other = args[1]
        return bool(first.dim() > 1 and isinstance(other, Tensor) and other.dim() <= 2)
    if name in _REPEATING:
        return bool(made[0].dim() == first.dim())
    return name in RESHAPING or bool(first.dim() >= _LAYERS.get(name, first.dim() + 1))


def _is_along_others(axes: Any, dim: int) -> bool:
    several = axes if isinstance(axes, tuple | list) else (axes,)
    return bool(several and dim) and all(isinstance(axis, int) and axis % dim for axis in several)


def _takes_all_rows(index: Any, dim: int) -> bool:
    """Whether an index into `dim` axes takes the first one as it is, and leaves it first."""
    parts = index if isinstance(index, tuple) else (index,)
    plain = all(part is None or part is Ellipsis or isinstance(part, int | slice) for part in parts)
    if not plain and sum(not (part is None or part is Ellipsis or isinstance(part, slice)) for part in parts) > 1:
        return False  # of several tensors what they choose may come first
    if parts[0] is Ellipsis:
        return sum(_axes_taken(part) for part in parts[1:]) < dim
    return isinstance(parts[0], slice) and parts[0] == slice(None)


def _axes_taken(part: Any) -> int:
    """By a part of an index: a mask takes as many as it has."""
    if isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8):
        return part.dim()
    return int(part is not None)


def axis_after(name: str, args: Sequence[Any], made: Sequence[Tensor], axis: int) -> int | None:
    """Where an axis of the first argument is once a call has turned it; None where that is not known."""
    given = args[0] if args else None
    if not isinstance(given, Tensor) or len(made) != 1 or not given.dim():
        return None
    dim, told = given.dim(), args[1:]
    if name in ("embedding", "linear"):
        return axis if axis < dim - (name == "linear") else None
    if name == "permute":
        order = told[0] if told and isinstance(told[0], tuple | list) else told
    elif name in ("transpose", "swapaxes", "swapdims", "t", "T", "mT"):
        one, other = {"mT": (-2, -1), "t": (0, -1), "T": (0, -1)}.get(name, told)
        order = list(range(dim))
        if (name == "T" and dim > 2) or not all(isinstance(each, int) for each in (one, other)):
            return None
        order[one], order[other] = order[other], order[one]
    else:
        return None
    if len(order) != dim or not all(isinstance(each, int) for each in order):
        return None
    return [each % dim for each in order].index(axis)


@cache
def operation_of(function: Callable[..., Any]) -> tuple[str, bool]:
    """Of an operation, without its overload's, and whether it writes into its first argument; "" of one not torch's."""
    name = str(getattr(function, "__name__", "")).partition(".")[0] if _is_of_torch(function) else ""
    if name == "__get__":  # of an attribute, such as `.T`
        return str(getattr(getattr(function, "__self__", None), "__name__", "")), False
    if name.startswith("__i") and name not in ("__invert__", "__index__", "__int__", "__iter__"):
        return f"__{name[3:]}", True
    if name.endswith("_") and not name.endswith("__"):
        return name[:-1], True
    return name, name == "__setitem__"


def _is_of_torch(function: Callable[..., Any]) -> bool:
    """Whether torch has a function itself: others may have an operation by any name."""
    if isinstance(function, OpOverload | OpOverloadPacket):
        name = function._qualified_op_name if isinstance(function, OpOverloadPacket) else function._schema.name
        return name.startswith("aten::")
    return not isinstance(function, FunctionType) or str(function.__module__).partition(".")[0] == "torch"


def tensors_in(values: Any) -> list[Tensor]:
    """All tensors among arguments or results, those in lists, tables and slices included."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, Mapping):
        values = tuple(values.values())
    if isinstance(values, slice):
        values = (values.start, values.stop, values.step)
    if isinstance(values, tuple | list) and not isinstance(values, torch.Size):
        return [one for value in values for one in tensors_in(value)]
    return []
