"""Rules of the operations that work on each number by itself, move axes, or work along some of them.

Index letter: n examples of a batch.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mcoherence.gradients.independence.axes import (
    Agreement,
    Constant,
    Examples,
    Found,
    Kind,
    NotKnownError,
    along,
    broadcast,
    is_same,
    viewed,
)
from mcoherence.gradients.independence.operation_call import OperationCall, require, rule, same_for_all

# Each number by itself.

BY_NUMBER = (
    *("abs", "acos", "acosh", "add", "addcdiv", "addcmul", "alias", "asin", "asinh"),
    *("atan", "atan2", "atanh", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "ceil", "celu"),
    *("clamp", "clamp_max", "clamp_min", "clone", "copy", "copysign", "cos", "cosh"),
    *("deg2rad", "detach", "div", "elu", "eq", "erf", "erfc", "erfinv", "exp"),
    *("exp2", "expm1", "floor", "floor_divide", "fmod", "frac", "ge", "gelu", "gt"),
    *("hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hypot", "isinf", "isnan", "isneginf", "isposinf"),
    *("le", "leaky_relu", "lerp", "lgamma", "lift_fresh", "log", "log10", "log1p", "log2"),
    *(
        "log_sigmoid_forward",
        "logaddexp",
        "logaddexp2",
        "logical_and",
        "logical_not",
        "logical_or",
        "logical_xor",
        "logit",
        "lt",
    ),
    *("masked_fill", "maximum", "minimum", "mish", "mul", "nan_to_num", "ne", "neg", "pow"),
    *("_prelu_kernel", "reciprocal", "relu", "relu6", "remainder", "round", "rsqrt", "rsub", "sgn"),
    *("sigmoid", "sign", "silu", "sin", "sinc", "sinh", "softplus", "softshrink", "special_erfcx"),
    *("sqrt", "square", "sub", "tan", "tanh", "threshold", "_to_copy", "trunc", "where"),
    "xlogy",
)


@rule(*BY_NUMBER)
def _by_number(call: OperationCall) -> Sequence[Found | None]:
    found = broadcast([(call.kind(one), one.shape) for one in call.tensors()], call.results[0].dim())
    return same_for_all(call, found)


@rule("mse_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
def _loss_by_number(call: OperationCall) -> Sequence[Found | None]:
    require(call["reduction"] == 0)
    return _by_number(call)


# Tensors of one value, of a length that may be that of the batch.


@rule("zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like")
def _of_one_value(call: OperationCall) -> Sequence[Found | None]:
    return [Constant(frozenset(range(call.results[0].dim())))]


# Axes moved.


def _moved(call: OperationCall, new_axes: Sequence[int | None]) -> list[Found | None]:
    return same_for_all(call, along(call.of("self"), new_axes))


@rule("view", "_unsafe_view", "reshape", "_reshape_alias")
def _view(call: OperationCall) -> Sequence[Found | None]:
    require("dtype" not in call.arguments)
    kind, shape, new = call.of("self"), call.tensor("self").shape, call.results[0].shape
    if isinstance(kind, Examples):
        return [viewed(kind, call.n, shape, new)]
    # Axes on the left stay as they are until the first of another length.
    kept = next((i for i, pair in enumerate(zip(shape, new, strict=False)) if pair[0] != pair[1]), len(shape))
    return [Constant(frozenset(i for i in kind.same if i < min(kept, len(new))))]


@rule("t", "numpy_T")
def _t(call: OperationCall) -> Sequence[Found | None]:
    return _moved(call, range(call.tensor("self").dim())[::-1])


@rule("transpose")
def _transpose(call: OperationCall) -> Sequence[Found | None]:
    axes: list[int | None] = list(range(call.tensor("self").dim()))
    if axes:
        i, j = call.axis("self", call["dim0"]), call.axis("self", call["dim1"])
        axes[i], axes[j] = axes[j], axes[i]
    return _moved(call, axes)


@rule("permute")
def _permute(call: OperationCall) -> Sequence[Found | None]:
    order = [call.axis("self", dim) for dim in call["dims"]]
    return _moved(call, [order.index(i) for i in range(len(order))])


@rule("unsqueeze")
def _unsqueeze(call: OperationCall) -> Sequence[Found | None]:
    dims = call.tensor("self").dim()
    new = call["dim"] % (dims + 1)
    return _moved(call, [i + (i >= new) for i in range(dims)])


@rule("squeeze")
def _squeeze(call: OperationCall) -> Sequence[Found | None]:
    shape = call.tensor("self").shape
    chosen = call.arguments.get("dim", range(len(shape)))
    gone = {call.axis("self", d) for d in ([chosen] if isinstance(chosen, int) else chosen)}
    return _moved(call, _left([i for i in range(len(shape)) if i not in gone or shape[i] != 1], len(shape)))


def _left(axes: Sequence[int], dims: int) -> list[int | None]:
    """Where each of `dims` axes is if only these are left."""
    return [axes.index(i) if i in axes else None for i in range(dims)]


@rule("select", "unbind")
def _select(call: OperationCall) -> Sequence[Found | None]:
    dims, dim = call.tensor("self").dim(), call.axis("self", call["dim"])
    return _moved(call, _left([i for i in range(dims) if i != dim], dims))


@rule("slice")
def _slice(call: OperationCall) -> Sequence[Found | None]:
    kind, dim = call.of("self"), call.axis("self", call["dim"])
    if isinstance(kind, Examples) and kind.axis == dim:
        require(call.results[0].shape == call.tensor("self").shape and call["step"] == 1)
    return [kind]


@rule("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "narrow")
def _split(call: OperationCall) -> Sequence[Found | None]:
    kind = call.of("self")
    require(not isinstance(kind, Examples) or kind.axis != call.axis("self", call["dim"]))
    return same_for_all(call, kind)


@rule("expand")
def _expand(call: OperationCall) -> Sequence[Found | None]:
    shape, new = call.tensor("self").shape, call.results[0].shape
    added = len(new) - len(shape)
    kind = along(call.of("self"), [i + added for i in range(len(shape))])
    if isinstance(kind, Examples):
        return [kind]
    spread = {i for i in range(len(new)) if i < added or shape[i - added] != new[i]}
    return [Constant(kind.same | spread)]


@rule("repeat")
def _repeat(call: OperationCall) -> Sequence[Found | None]:
    """A constant once for each example."""
    times, *others = call["repeats"]
    require(isinstance(call.of("self"), Constant) and times == call.n and others == [1] * len(others))
    added = call.results[0].dim() - call.tensor("self").dim()
    require(added <= 1)
    return [Examples(0, 1 if added else len(call.tensor("self")))]


@rule("cat")
def _cat(call: OperationCall) -> Sequence[Found | None]:
    parts = [one for one in call["tensors"] if one.dim() > 1 or len(one)]  # torch passes over empty ones
    require(bool(parts))
    dim = call["dim"] % call.results[0].dim()
    return [_beside(call, parts, dim)]


@rule("stack")
def _stack(call: OperationCall) -> Sequence[Found | None]:
    dims = call.results[0].dim()
    dim = call["dim"] % dims
    kind = _beside(call, call["tensors"], None)
    return [along(kind, [i + (i >= dim) for i in range(dims - 1)])]


def _beside(call: OperationCall, parts: Sequence[Tensor], dim: int | None) -> Kind:
    kind = broadcast([(call.kind(one), one.shape) for one in parts], parts[0].dim())
    if isinstance(kind, Examples):
        require(kind.axis != dim)
        return kind
    return Constant(kind.same - {dim})


@rule("constant_pad_nd")
def _pad(call: OperationCall) -> Sequence[Found | None]:
    kind, padded = call.of("self"), len(call["pad"]) // 2
    dims = call.tensor("self").dim()
    if isinstance(kind, Examples):
        require(kind.axis < dims - padded)
        return [kind]
    return [Constant(frozenset(i for i in kind.same if i < dims - padded))]


# Along some axes, which are not that of the examples.


def apart_from(call: OperationCall, dims: int | Sequence[int] | None, name: str = "self") -> Kind:
    """The kind of the argument; along these axes there are no examples, nor a length that may be their number."""
    kind = call.of(name)
    chosen = {call.axis(name, dim) for dim in ([dims] if isinstance(dims, int) else dims or ())}
    taken = {kind.axis} if isinstance(kind, Examples) else kind.same
    require(bool(chosen) and not chosen & taken)
    return kind


@rule("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod", "logcumsumexp", "sort", "topk", "glu")
def _along(call: OperationCall) -> Sequence[Found | None]:
    return same_for_all(call, apart_from(call, call["dim"]))


@rule("flip")
def _flip(call: OperationCall) -> Sequence[Found | None]:
    return [apart_from(call, call["dims"])]


@rule(
    *("sum", "mean", "max", "min", "argmax", "argmin", "logsumexp", "var", "std", "prod", "linalg_vector_norm", "norm"),
    *("var_mean", "std_mean"),
)
def _reduced(call: OperationCall) -> Sequence[Found | None]:
    dims = call.arguments.get("dim")
    return _without(call, apart_from(call, dims), [dims] if isinstance(dims, int) else dims or ())


@rule("all")
def _all(call: OperationCall) -> Sequence[Found | None]:
    over_everything = isinstance(call.of("self"), Examples) and call.arguments.get("dim") is None
    return [Agreement(True)] if over_everything else _reduced_whatever_the_length(call)


@rule("any")
def _any(call: OperationCall) -> Sequence[Found | None]:
    over_everything = isinstance(call.of("self"), Examples) and call.arguments.get("dim") is None
    return [Agreement(False)] if over_everything else _reduced_whatever_the_length(call)


@rule("amax", "amin")
def _reduced_whatever_the_length(call: OperationCall) -> Sequence[Found | None]:
    """Of a constant, an axis of one value may be as long as there are examples: the result is that value."""
    if isinstance(call.of("self"), Examples):
        return _reduced(call)
    dims = call.arguments.get("dim")
    every = range(call.tensor("self").dim())
    return _without(call, call.of("self"), [dims] if isinstance(dims, int) else dims or every)


def _without(call: OperationCall, kind: Kind, dims: Iterable[int]) -> Sequence[Found | None]:
    """Of results that lack these axes of the argument, or keep them with a length of 1."""
    if call.arguments.get("keepdim"):
        return same_for_all(call, kind)
    gone, every = {call.axis("self", dim) for dim in dims}, range(call.tensor("self").dim())
    return same_for_all(call, along(kind, _left([i for i in every if i not in gone], len(every))))


@rule("tril", "triu")
def _triangle(call: OperationCall) -> Sequence[Found | None]:
    return [apart_from(call, (-2, -1))]


@rule("gather")
def _gather(call: OperationCall) -> Sequence[Found | None]:
    kind = broadcast([(call.of(name), call.tensor(name).shape) for name in ("self", "index")], call.results[0].dim())
    require(isinstance(kind, Examples) and kind.axis != call.axis("self", call["dim"]))
    return [kind]


@rule("index")
def _index(call: OperationCall) -> Sequence[Found | None]:
    """Of each example, by its place in the batch, what other indices choose."""
    places, *others = call["indices"]
    whose = call.of("self")
    require(whose == Examples(0) and isinstance(places, Tensor) and all(isinstance(one, Tensor) for one in others))
    axis = call.counts(places)
    if axis is None:
        raise NotKnownError
    from_right = axis - places.dim()
    require(places.shape[axis] == call.n and places.numel() == call.n)
    for one in others:
        require(one.dtype in (torch.int64, torch.int32))
        kind = call.kind(one)
        beside_places = isinstance(kind, Examples) and kind.inner == 1 and kind.axis - one.dim() == from_right
        require(beside_places or is_same(kind, one.shape, from_right))
    dims = max(one.dim() for one in (places, *others))
    return [Examples(dims + from_right)]
