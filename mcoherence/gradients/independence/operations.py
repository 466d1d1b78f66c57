"""Which of torch's operations keep examples apart, by the axes that they work along.

Each rule gives the kinds of what its operation gives, None of what nobody is to use. What has no rule is not known.
Operations are those below autograd (`torch.ops.aten`): whatever torch function, script or C++ code was called, it comes
down to these.

Index letter: n examples of a batch.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class OperationCall:
    """A call of an operation.

    arguments: by the names of its schema, defaults included.
    results: the tensors that it gave.
    kind: of a tensor among the arguments, one that counts taken for any constant.
    counts: along which axis a tensor among the arguments counts; None of one that does not.
    n: number of examples.
    """

    arguments: dict[str, Any]
    results: Sequence[Tensor]
    kind: Callable[[Tensor], Kind]
    counts: Callable[[Tensor], int | None]
    n: int

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def tensor(self, name: str) -> Tensor:
        """The argument of this name, which is a tensor."""
        found = self.arguments[name]
        if not isinstance(found, Tensor):
            raise NotKnownError
        return found

    def of(self, name: str) -> Kind:
        """The kind of the argument of this name, which is a tensor."""
        return self.kind(self.tensor(name))

    def axis(self, name: str, dim: int) -> int:
        """An axis of the argument of this name, counted from the left."""
        return dim % max(1, self.tensor(name).dim())

    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments, those of lists too."""
        return list(tensors_among(self.arguments.values()))


Rule = Callable[[OperationCall], Sequence[Found | None]]
RULES: dict[str, Rule] = {}


def require(known: bool) -> None:
    """Raise NotKnownError unless this is so."""
    if not known:
        raise NotKnownError


def tensors_among(values: Iterable[Any]) -> Iterable[Tensor]:
    """The tensors among values and lists of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_among(value)


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def registered(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return registered


def _constant(call: OperationCall, *names: str) -> None:
    """NotKnownError unless these arguments hold nothing of the examples; None is nothing."""
    for tensor in tensors_among(call[name] for name in names):
        require(isinstance(call.kind(tensor), Constant))


def _examples(call: OperationCall, name: str) -> Examples:
    found = call.of(name)
    if not isinstance(found, Examples):
        raise NotKnownError
    return found


def _same_for_all(call: OperationCall, kind: Kind) -> list[Found | None]:
    return [kind] * len(call.results)


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
    *("xlogy"),
)


@_rule(*BY_NUMBER)
def _by_number(call: OperationCall) -> Sequence[Found | None]:
    found = broadcast([(call.kind(one), one.shape) for one in call.tensors()], call.results[0].dim())
    return _same_for_all(call, found)


@_rule("mse_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
def _loss_by_number(call: OperationCall) -> Sequence[Found | None]:
    require(call["reduction"] == 0)
    return _by_number(call)


# Tensors of one value, of a length that may be that of the batch.


@_rule("zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like")
def _of_one_value(call: OperationCall) -> Sequence[Found | None]:
    return [Constant(frozenset(range(call.results[0].dim())))]


# Axes moved.


def _moved(call: OperationCall, new_axes: Sequence[int | None]) -> list[Found | None]:
    return _same_for_all(call, along(call.of("self"), new_axes))


@_rule("view", "_unsafe_view", "reshape", "_reshape_alias")
def _view(call: OperationCall) -> Sequence[Found | None]:
    require("dtype" not in call.arguments)
    kind, shape, new = call.of("self"), call.tensor("self").shape, call.results[0].shape
    if isinstance(kind, Examples):
        return [viewed(kind, call.n, shape, new)]
    # Axes on the left stay as they are until the first of another length.
    kept = next((i for i, pair in enumerate(zip(shape, new, strict=False)) if pair[0] != pair[1]), len(shape))
    return [Constant(frozenset(i for i in kind.same if i < min(kept, len(new))))]


@_rule("t", "numpy_T")
def _t(call: OperationCall) -> Sequence[Found | None]:
    return _moved(call, range(call.tensor("self").dim())[::-1])


@_rule("transpose")
def _transpose(call: OperationCall) -> Sequence[Found | None]:
    axes: list[int | None] = list(range(call.tensor("self").dim()))
    if axes:
        i, j = call.axis("self", call["dim0"]), call.axis("self", call["dim1"])
        axes[i], axes[j] = axes[j], axes[i]
    return _moved(call, axes)


@_rule("permute")
def _permute(call: OperationCall) -> Sequence[Found | None]:
    order = [call.axis("self", dim) for dim in call["dims"]]
    return _moved(call, [order.index(i) for i in range(len(order))])


@_rule("unsqueeze")
def _unsqueeze(call: OperationCall) -> Sequence[Found | None]:
    dims = call.tensor("self").dim()
    new = call["dim"] % (dims + 1)
    return _moved(call, [i + (i >= new) for i in range(dims)])


@_rule("squeeze")
def _squeeze(call: OperationCall) -> Sequence[Found | None]:
    shape = call.tensor("self").shape
    chosen = call.arguments.get("dim", range(len(shape)))
    gone = {call.axis("self", d) for d in ([chosen] if isinstance(chosen, int) else chosen)}
    return _moved(call, _left([i for i in range(len(shape)) if i not in gone or shape[i] != 1], len(shape)))


def _left(axes: Sequence[int], dims: int) -> list[int | None]:
    """Where each of `dims` axes is if only these are left."""
    return [axes.index(i) if i in axes else None for i in range(dims)]


@_rule("select", "unbind")
def _select(call: OperationCall) -> Sequence[Found | None]:
    dims, dim = call.tensor("self").dim(), call.axis("self", call["dim"])
    return _moved(call, _left([i for i in range(dims) if i != dim], dims))


@_rule("slice")
def _slice(call: OperationCall) -> Sequence[Found | None]:
    kind, dim = call.of("self"), call.axis("self", call["dim"])
    if isinstance(kind, Examples) and kind.axis == dim:
        require(call.results[0].shape == call.tensor("self").shape and call["step"] == 1)
    return [kind]


@_rule("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "narrow")
def _split(call: OperationCall) -> Sequence[Found | None]:
    kind = call.of("self")
    require(not isinstance(kind, Examples) or kind.axis != call.axis("self", call["dim"]))
    return _same_for_all(call, kind)


@_rule("expand")
def _expand(call: OperationCall) -> Sequence[Found | None]:
    shape, new = call.tensor("self").shape, call.results[0].shape
    added = len(new) - len(shape)
    kind = along(call.of("self"), [i + added for i in range(len(shape))])
    if isinstance(kind, Examples):
        return [kind]
    spread = {i for i in range(len(new)) if i < added or shape[i - added] != new[i]}
    return [Constant(kind.same | spread)]


@_rule("repeat")
def _repeat(call: OperationCall) -> Sequence[Found | None]:
    """A constant once for each example."""
    times, *others = call["repeats"]
    require(isinstance(call.of("self"), Constant) and times == call.n and others == [1] * len(others))
    added = call.results[0].dim() - call.tensor("self").dim()
    require(added <= 1)
    return [Examples(0, 1 if added else len(call.tensor("self")))]


@_rule("cat")
def _cat(call: OperationCall) -> Sequence[Found | None]:
    parts = [one for one in call["tensors"] if one.dim() > 1 or len(one)]  # torch passes over empty ones
    require(bool(parts))
    dim = call["dim"] % call.results[0].dim()
    return [_beside(call, parts, dim)]


@_rule("stack")
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


@_rule("constant_pad_nd")
def _pad(call: OperationCall) -> Sequence[Found | None]:
    kind, padded = call.of("self"), len(call["pad"]) // 2
    dims = call.tensor("self").dim()
    if isinstance(kind, Examples):
        require(kind.axis < dims - padded)
        return [kind]
    return [Constant(frozenset(i for i in kind.same if i < dims - padded))]


# Along some axes, which are not that of the examples.


def _apart_from(call: OperationCall, dims: int | Sequence[int] | None, name: str = "self") -> Kind:
    """The kind of the argument; along these axes there are no examples, nor a length that may be their number."""
    kind = call.of(name)
    chosen = {call.axis(name, dim) for dim in ([dims] if isinstance(dims, int) else dims or ())}
    taken = {kind.axis} if isinstance(kind, Examples) else kind.same
    require(bool(chosen) and not chosen & taken)
    return kind


@_rule("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod", "logcumsumexp", "sort", "topk", "glu")
def _along(call: OperationCall) -> Sequence[Found | None]:
    return _same_for_all(call, _apart_from(call, call["dim"]))


@_rule("flip")
def _flip(call: OperationCall) -> Sequence[Found | None]:
    return [_apart_from(call, call["dims"])]


@_rule(
    *("sum", "mean", "max", "min", "argmax", "argmin", "logsumexp", "var", "std", "prod", "linalg_vector_norm", "norm"),
    *("var_mean", "std_mean"),
)
def _reduced(call: OperationCall) -> Sequence[Found | None]:
    dims = call.arguments.get("dim")
    return _without(call, _apart_from(call, dims), [dims] if isinstance(dims, int) else dims or ())


@_rule("all")
def _all(call: OperationCall) -> Sequence[Found | None]:
    over_everything = isinstance(call.of("self"), Examples) and call.arguments.get("dim") is None
    return [Agreement(True)] if over_everything else _reduced_whatever_the_length(call)


@_rule("any")
def _any(call: OperationCall) -> Sequence[Found | None]:
    over_everything = isinstance(call.of("self"), Examples) and call.arguments.get("dim") is None
    return [Agreement(False)] if over_everything else _reduced_whatever_the_length(call)


@_rule("amax", "amin")
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
        return _same_for_all(call, kind)
    gone, every = {call.axis("self", dim) for dim in dims}, range(call.tensor("self").dim())
    return _same_for_all(call, along(kind, _left([i for i in every if i not in gone], len(every))))


@_rule("tril", "triu")
def _triangle(call: OperationCall) -> Sequence[Found | None]:
    return [_apart_from(call, (-2, -1))]


@_rule("gather")
def _gather(call: OperationCall) -> Sequence[Found | None]:
    kind = broadcast([(call.of(name), call.tensor(name).shape) for name in ("self", "index")], call.results[0].dim())
    require(isinstance(kind, Examples) and kind.axis != call.axis("self", call["dim"]))
    return [kind]


@_rule("index")
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
        of_examples = isinstance(kind, Examples) and kind.inner == 1 and kind.axis - one.dim() == from_right
        require(of_examples or is_same(kind, one.shape, from_right))
    dims = max(one.dim() for one in (places, *others))
    return [Examples(dims + from_right)]


# Layers.


@_rule("mm", "addmm", "bmm", "baddbmm", "mv")
def _product(call: OperationCall) -> Sequence[Found | None]:
    *added, left, right = (name for name in _FACTORS if name in call.arguments)
    dims = call.results[0].dim()
    # The last axis of the one and the last but one of the other are summed over.
    factors = (call.of(left), call.tensor(left).dim() - 1), (call.of(right), max(0, call.tensor(right).dim() - 2))
    kind = _kind_of_product(factors, dims)
    for name in added:
        kind = broadcast([(call.of(name), call.tensor(name).shape), (kind, call.results[0].shape)], dims)
    return [kind]


_FACTORS = ("self", "mat1", "batch1", "mat2", "batch2", "vec")  # what is added first, if anything


def _kind_of_product(factors: tuple[tuple[Kind, int], tuple[Kind, int]], dims: int) -> Kind:
    """Of a product.

    Args:
        factors: (kind, axis that is summed over) of each.
        dims: number of axes of the product; the first of three is that of several products.
    """
    (one, summed), (other, summed_of_other) = factors
    if isinstance(one, Examples) and isinstance(other, Examples):
        require(dims == 3 and one.axis == 0 and other == one)
        return one
    if isinstance(one, Constant) and isinstance(other, Constant):
        alone = (one.same - {summed}) | (other.same - {summed_of_other})
        return Constant(alone if dims < 3 else (alone - {0}) | (one.same & other.same & {0}))
    for kind, over, constant in ((one, summed, other), (other, summed_of_other, one)):
        if isinstance(kind, Examples) and isinstance(constant, Constant):
            require(kind.axis != over and (dims < 3 or kind.axis > 0 or 0 in constant.same))
            return kind
    raise NotKnownError


@_rule("convolution")
def _convolution(call: OperationCall) -> Sequence[Found | None]:
    _constant(call, "weight", "bias")
    kind = _examples(call, "input")
    require(kind.axis == 0 and call.tensor("input").dim() == call.tensor("weight").dim())
    return [kind]


@_rule("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training")
def _batch_norm(call: OperationCall) -> Sequence[Found | None]:
    kind = _examples(call, "input")
    beside = ("weight", "bias", "running_mean", "running_var")
    if kind.axis == 1:  # as in instance norm: each channel is of one example and has statistics of its own
        given = [one for name in beside if (one := call[name]) is not None]
        require(all(call.kind(one) == Examples(0, kind.inner) for one in given))
    else:
        _constant(call, *beside)
        require(not call.arguments.get("training", False) and call["running_mean"] is not None)
    return [kind, *_hidden(call)]


def _hidden(call: OperationCall) -> list[None]:
    """Of the results but the first, which are kept for a backward pass."""
    return [None] * (len(call.results) - 1)


@_rule("native_layer_norm", "_fused_rms_norm")
def _layer_norm(call: OperationCall) -> Sequence[Found | None]:
    _constant(call, *(name for name in ("weight", "bias") if name in call.arguments))
    kind = _examples(call, "input")
    require(kind.axis < call.tensor("input").dim() - len(call["normalized_shape"]))
    return _same_for_all(call, kind)


@_rule("native_group_norm")
def _group_norm(call: OperationCall) -> Sequence[Found | None]:
    _constant(call, "weight", "bias")
    kind = _examples(call, "input")
    require(kind.axis == 0)
    return _same_for_all(call, kind)


@_rule("embedding")
def _embedding(call: OperationCall) -> Sequence[Found | None]:
    _constant(call, "weight")
    require(not call["scale_grad_by_freq"])  # the gradient of an example would tell how often others take its row
    return [call.of("indices")]


@_rule(
    *("max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d"),
    *("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d"),
)
def _pool2d(call: OperationCall) -> Sequence[Found | None]:
    name = next(iter(call.arguments))
    return _same_for_all(call, _apart_from(call, (-2, -1), name))


@_rule("nll_loss_forward", "nll_loss2d_forward")
def _nll_loss(call: OperationCall) -> Sequence[Found | None]:
    _constant(call, "weight")
    kind = _examples(call, "self")
    require(call["reduction"] == 0 and kind.axis == 0 and call.of("target") == kind)
    require(call.tensor("self").dim() > 1)
    return [kind, *_hidden(call)]


@_rule("_scaled_dot_product_flash_attention_for_cpu")
def _attention(call: OperationCall) -> Sequence[Found | None]:
    kind = _examples(call, "query")
    require(kind.axis == 0 and call.of("key") == kind and call.of("value") == kind and not call["dropout_p"])
    mask = call["attn_mask"]
    if mask is not None:
        shape = (*call.tensor("query").shape[:3], call.tensor("key").shape[2])
        require(broadcast([(call.kind(mask), mask.shape), (kind, shape)], 4) == kind)
    return _same_for_all(call, kind)


@_rule("mkldnn_rnn_layer")
def _recurrent(call: OperationCall) -> Sequence[Found | None]:
    _constant(call, "weight0", "weight1", "weight2", "weight3")
    kind = _examples(call, "input")
    require(kind == Examples(1) and not call["batch_sizes"])  # time steps come first, whatever batch_first says
    for name in ("hx_", "cx_"):
        first = call.of(name)
        dims = call.tensor(name).dim()
        require(first == Examples(dims - 2) if isinstance(first, Examples) else dims - 2 in first.same)
    dims = call.results[1].dim()
    return [kind, Examples(dims - 2), Examples(dims - 2), *[None] * (len(call.results) - 3)]
