"""What a forward pass computes of the examples without a gradient: there they may mix, and no graph shows it.

An example's mask, length or index is computed of that example; the longest text of a batch, or how many examples an
expert has had, of them all. Both are tensors without a gradient. Calls that keep the examples apart along the first
axis, whatever they are given, are known here by name; any other is taken for one that may mix them.

Index letter: n examples.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

# Of constants that a pass makes, which nobody else might keep.
MOST_CONSTANTS = 2**28

_BY_SHAPE = {
    *("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"),
    *("size", "dim", "numel", "stride", "is_floating_point", "is_complex"),
}
_ELEMENTWISE = {
    *("add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "true_divide", "floor_divide", "remainder"),
    *("fmod", "pow", "neg", "negative", "abs", "absolute", "exp", "log", "log1p", "sqrt", "rsqrt", "square", "sign"),
    *("reciprocal", "sigmoid", "tanh", "relu", "gelu", "silu", "sin", "cos", "floor", "ceil", "round", "trunc"),
    *("clamp", "clamp_min", "clamp_max", "clip", "maximum", "minimum", "where", "masked_fill", "lerp", "dropout"),
    *("eq", "ne", "lt", "le", "gt", "ge", "less", "greater", "not_equal", "logical_and", "logical_or", "logical_not"),
    *("logical_xor", "bitwise_and", "bitwise_or", "bitwise_not", "isnan", "isinf", "isfinite", "nan_to_num"),
    *("to", "float", "double", "half", "bfloat16", "int", "long", "short", "bool", "type", "type_as", "clone"),
    *("contiguous", "detach", "requires_grad", "cpu", "cuda", "copy"),
    *("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__", "__pow__"),
    *("__rpow__", "__floordiv__", "__rfloordiv__", "__mod__", "__neg__", "__abs__", "__invert__", "__and__", "__or__"),
    *("__xor__", "__rand__", "__ror__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"),
}
_KEEPING_ROWS = {"view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze", "expand", "expand_as", "view_as"}
_REARRANGING = {*_KEEPING_ROWS, "transpose", "permute", "t", "movedim", "swapaxes", "moveaxis", "swapdims"}
# Along the axis that they are told, which is their second argument.
_ALONG = {
    *("sum", "mean", "prod", "any", "all", "amax", "amin", "argmax", "argmin", "max", "min", "cumsum", "cumprod"),
    *("softmax", "log_softmax", "logsumexp", "sort", "argsort", "gather", "count_nonzero", "std", "var"),
}
# Of the first argument, which has the examples first, and of others that are the same for all.
_LAYERS = {
    *("linear", "matmul", "__matmul__", "conv1d", "conv2d", "conv3d", "layer_norm", "group_norm", "rms_norm"),
    *("embedding", "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "pad"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "interpolate", "one_hot"),
}


class Untraced:
    """Whether examples may have met in the calls so far where no gradient goes.

    Args:
        own: ids of the model's parameters and buffers.

    found: whether they may.
    """

    def __init__(self, own: Collection[int]) -> None:
        self.found = False
        self._own = own
        # By id, and kept alive, so that no other tensor takes one over: constants, with their version, which counts
        # what is written into them by any name; and what has the examples elsewhere than first.
        self._constants: dict[int, tuple[Tensor, int]] = {}
        self._turned: dict[int, Tensor] = {}
        self._numbers: dict[int, Tensor] = {}
        self._places: dict[int, Tensor] = {}  # 0, 1, 2, ... along the first axis
        self._bytes = 0

    @property
    def waiting(self) -> bool:
        """Whether there are numbers of several examples that nothing else was computed with: every call is to be told.

        Python may ask for their values. That is looked after elsewhere (`watching`).
        """
        return bool(self._numbers)

    def take(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Take in a call. Those that give tensors with a gradient alone need not be told of: the graph shows them."""
        if self.found:
            return
        name, writes = _name(function)
        made = [one for one in _tensors(args[0] if name == "__setitem__" else result) if not one.requires_grad]
        given = [] if name in _BY_SHAPE else _tensors((args, *kwargs.values()))
        if not made:
            self.found = any(id(one) in self._numbers for one in given)
            return
        of_examples = [one for one in given if not self._is_constant(one, writes and one is args[0])]
        if not of_examples:
            self._keep(made)
            if self._are_places(name, args, kwargs, made):
                self._places[id(made[0])] = made[0]
        elif all(not one.dim() for one in made) and not any(one.requires_grad for one in of_examples):
            self._numbers |= {id(one): one for one in made}
        elif any(self._are_mixed(one) for one in of_examples):
            self.found = True
        elif not (_keeps_apart(name, args, kwargs, of_examples, made) or self._takes_own_rows(name, args, made)):
            if name in _REARRANGING:
                self._turned |= {id(one): one for one in made}
            else:
                self.found = True
        if self.found:
            self._constants, self._turned, self._numbers, self._places = {}, {}, {}, {}

    def _are_places(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], made: Sequence[Tensor]) -> bool:
        """Whether a call has made the numbers of the rows of something, or has given them more axes of one."""
        if name == "arange":
            return len(args) == 1 and isinstance(args[0], int) and not {"start", "step"} & kwargs.keys()
        if name not in ("__getitem__", *_KEEPING_ROWS) or id(args[0]) not in self._places or not made[0].dim():
            return False
        return made[0].numel() == len(made[0]) == len(args[0])

    def _takes_own_rows(self, name: str, args: tuple[Any, ...], made: Sequence[Tensor]) -> bool:
        """Whether what is chosen from [n, ...] by an index is, for each row, of that row."""
        if name != "__getitem__" or not isinstance(args[1], tuple) or not args[1]:
            return False
        first, given = args[1][0], args[0]
        if id(first) not in self._places or not self._is_constant(first, False) or not (given.dim() and made[0].dim()):
            return False
        tensors = [one for one in args[1] if isinstance(one, Tensor)]
        spread = len(tensors) == len(args[1]) and all(one.dim() <= first.dim() for one in tensors)
        return spread and len(first) == len(given) == len(made[0])

    def _are_mixed(self, tensor: Tensor) -> bool:
        """Whether what is computed of a tensor without a gradient may be of several examples."""
        return id(tensor) in self._turned or id(tensor) in self._numbers or tensor.requires_grad

    def _is_constant(self, tensor: Tensor, is_written: bool) -> bool:
        """Whether a tensor hangs on no example; of one that was just written to, whether it did not before."""
        if id(tensor) in self._own:
            return True
        if id(tensor) not in self._constants or tensor.requires_grad:
            return False
        return self._constants[id(tensor)][1] == tensor._version - is_written

    def _keep(self, made: list[Tensor]) -> None:
        for one in made:
            if id(one) not in self._own and not one.is_inference():
                self._bytes += one.numel() * one.element_size() if one._base is None else 0
                self._constants[id(one)] = one, one._version
        self.found = self._bytes > MOST_CONSTANTS


def _keeps_apart(
    name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], of_examples: list[Tensor], made: list[Tensor]
) -> bool:
    """Whether what a call made of tensors [n, ...] of the examples has these first, each made of its own row."""
    first = of_examples[0]
    if not first.dim() or any(not one.dim() or len(one) != len(first) for one in (*of_examples, *made)):
        return False
    if name in _ELEMENTWISE:
        return all(one.dim() == made[0].dim() for one in of_examples)
    if not args or args[0] is not first:
        return False
    if name in _ALONG:
        return _is_along_others(args[1] if len(args) > 1 else kwargs.get("dim"), first.dim())
    if len(of_examples) > 1:
        return False
    if name in ("__getitem__", "__setitem__"):
        return _takes_all_rows(args[1])
    return name in _KEEPING_ROWS or (name in _LAYERS and (first.dim() > 1 or name in ("embedding", "one_hot")))


def _is_along_others(axes: Any, dim: int) -> bool:
    several = axes if isinstance(axes, tuple | list) else (axes,)
    return bool(several) and all(isinstance(axis, int) and axis % dim for axis in several)


def _takes_all_rows(index: Any) -> bool:
    first = index[0] if isinstance(index, tuple) and index else index
    return first is Ellipsis or (isinstance(first, slice) and first == slice(None))


@cache
def _name(function: Callable[..., Any]) -> tuple[str, bool]:
    """Of an operation, without its overload's, and whether it writes into its first argument."""
    name = str(getattr(function, "__name__", "")).partition(".")[0]
    if name.startswith("__i") and name not in ("__invert__", "__index__", "__int__"):
        return f"__{name[3:]}", True
    if name.endswith("_") and not name.endswith("__"):
        return name[:-1], True
    return name, name == "__setitem__"


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, Mapping):
        values = tuple(values.values())
    if isinstance(values, slice):
        values = (values.start, values.stop, values.step)
    if isinstance(values, tuple | list) and not isinstance(values, torch.Size):
        return [one for value in values for one in _tensors(value)]
    return []
