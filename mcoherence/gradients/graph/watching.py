"""What a forward pass does that autograd's graph does not show: values read by Python, and hooks put on tensors.

A model that asks for the value of a tensor (`if x.mean() > 0`, `.item()`), or for rows chosen by content, may go
another way for a batch than for an example alone. A hook on a tensor may change gradients otherwise than by a factor.
Both are calls of torch's functions, so that a function mode sees them, at a cost of about a microsecond for each call.

What was computed of sizes, constants and weights alone is the same whatever the examples are, and may be read: language
models ask so whether positions are those of one text. Which tensors these are is followed from call to call
(following.py), at a cost of a few microseconds, and so for models only that were seen to read something.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from mcoherence.gradients.graph.following import Called, Following
from mcoherence.gradients.graph.row_by_row import operation_of
from mcoherence.gradients.graph.untraced import Untraced
from mcoherence.gradients.graph.walk import Made, made_at, users_below

_READING = {
    *("__bool__", "__int__", "__float__", "__complex__", "__index__", "__contains__", "__array__", "item", "tolist"),
    *("numpy", "is_nonzero", "equal", "allclose", "nonzero", "argwhere", "masked_select", "unique"),
    *("unique_consecutive", "bincount"),
    # What is not zero in a sparse tensor, which may be made of a dense one.
    *("_nnz", "values", "indices", "_values", "_indices"),
    *("crow_indices", "col_indices", "ccol_indices", "row_indices"),
    *(
        "_pack_padded_sequence",
        "_pad_packed_sequence",
        "__format__",
        "__repr__",
        "__dlpack__",
        "data_ptr",
        "untyped_storage",
        "_local_scalar_dense",
        "storage",
    ),
}
# Functions that read a size or a number from a tensor which is handed over in its place.
_SIZED = {
    *("arange", "range", "linspace", "logspace", "zeros", "ones", "full", "empty", "eye", "rand", "randn", "new_zeros"),
    *("new_ones", "new_full", "new_empty", "narrow", "split", "split_with_sizes", "chunk", "expand", "repeat", "tile"),
    *("view", "reshape", "unflatten", "unfold", "as_strided", "select", "roll", "pad", "tril_indices", "triu_indices"),
    *("tril", "triu", "topk"),
}
# Functions that make many times their results inside, which no function mode shows; a graph does, where there is one.
_HIDING = {
    *("lstm", "gru", "rnn_tanh", "rnn_relu", "multi_head_attention_forward"),
    *("_native_multi_head_attention", "_transformer_encoder_layer_fwd"),
}
# Functions that read numbers from a tensor, unless these are handed over as numbers.
_COUNTED = {"repeat_interleave", "tensor_split"}
_HOOKING = {"register_hook", "register_multi_grad_hook"}
_DIFFERENTIATING = {"grad", "backward"}


Value = bool | int | float | str


def typed(values: Sequence[Value]) -> tuple[tuple[type, str], ...]:
    """The values, to be compared: True is not 1 here, and -0.0 not 0.0."""
    return tuple((type(value), repr(value)) for value in values)


@dataclass(frozen=True)
class Read:
    """A number, truth value or text that came back to Python.

    value: it.
    call: the call that it came by, to be worked out for other inputs; None where it cannot be.
    """

    value: Value
    call: Called | None


@dataclass(frozen=True)
class Doubt:
    """Why a batch may have gone another way than its examples alone: its pass read values.

    values: all that it read, in order; None where that is not all, as for rows chosen by content and random numbers.
    """

    values: tuple[Value, ...] | None


class Watch(TorchFunctionMode):
    """A record of the calls inside the block.

    following: which tensors are known, where what is computed of weights alone may be read; None if nothing may.
    values_read: a value, or a shape that depends on values, came back to Python.
    reads: all values that came back, in order; None once there was something else, such as rows chosen by content.
    hooks: a hook was put on a tensor, or its node was asked for, where one can be put too.
    differentiates: autograd was asked for gradients.
    counting: whether to count what functions make.
    untraced: looks for what is computed of the examples without a gradient; None where nobody asks.
    """

    def __init__(
        self, following: Following | None = None, counting: bool = False, untraced: Untraced | None = None
    ) -> None:
        super().__init__()
        self._untraced = untraced
        self._following = following
        self.values_read = False
        self.reads: list[Read] | None = []
        self.hooks = False
        self.differentiates = False
        self._counting = counting
        self._numbers, self._operations = 0.0, 0  # of functions that autograd's graph does not show
        self._nodes: list[Node] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kind = _KINDS.get(func)
        if kind is None:
            kind = _KINDS[func] = _kind(func)
        kwargs = kwargs or {}
        if kind is _READS or (kind is _COUNTS and not _has_counts(args, kwargs)):
            return self._reading(func, args, kwargs)
        if kind not in (_PLAIN, _COUNTS):
            self._note(kind, args, kwargs)
        targets = () if self._following is None else self._following.targets(func, args, kwargs)
        result = func(*args, **kwargs)
        if self._untraced is not None:
            self._untraced.take(func, args, kwargs, result)
        if self._counting:
            self._count(func, result, args)
        if self._following is not None:
            self._following.take(func, args, kwargs, result, targets)
        return result

    def may_mix(self) -> bool:
        """Whether examples may have met where no gradient goes; False where that was not asked for."""
        return self._untraced is not None and self._untraced.found

    def doubt(self) -> Doubt | None:
        """What there is to doubt; None where nothing but fixed values was read."""
        if not self.values_read:
            return None
        return Doubt(None if self.reads is None else tuple(read.value for read in self.reads))

    def made(self, losses: Tensor) -> Made | None:
        """What the pass has made until it had these losses; None where that was not counted. The graph is let go."""
        if not self._counting:
            return None
        nodes, self._nodes = [losses.grad_fn, *self._nodes], []
        shown = made_at(users_below(nodes, {}))
        return Made(self._numbers + shown.numbers, self._operations + shown.operations)

    def _count(self, func: Callable[..., Any], result: Any, args: tuple[Any, ...]) -> None:
        if isinstance(result, tuple | list):
            for part in result:
                self._count(func, part, args)
        elif isinstance(result, Tensor):
            if result.grad_fn is not None:
                self._nodes.append(result.grad_fn)
            elif getattr(func, "__name__", "") in _HIDING:
                self._numbers = math.inf
            elif not result._is_view() and not any(result is argument for argument in args):
                self._numbers += result.numel()
                self._operations += 1
            self._numbers += _unfolded(func, result, args)

    def _reading(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        fixed = self._is_fixed((args, kwargs))
        self.values_read |= not fixed
        call = self._following.call(func, args, kwargs) if self._following is not None else None
        reads, self.reads = self.reads, None  # for the case that it fails
        result = func(*args, **kwargs)
        if reads is not None and isinstance(result, Value):
            reads.append(Read(result, call))
            self.reads = reads
        elif fixed:
            self.reads = reads
            assert self._following is not None
            self._following.take(func, args, kwargs, result)
        return result

    def _is_fixed(self, values: Any) -> bool:
        return self._following is not None and self._following.is_fixed(values)

    def _note(self, kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if kind is _HOOKS:
            self.hooks = True
        elif kind is _DIFFERENTIATES:
            self.differentiates = True
        elif not self._is_fixed((args[1:] if kind is _INDEXES else args, kwargs)) and _takes_values(kind, args, kwargs):
            self.values_read, self.reads = True, None


def _unfolded(func: Callable[..., Any], result: Tensor, args: tuple[Any, ...]) -> int:
    """How many numbers a convolution makes where it unfolds its inputs, as in float64."""
    name = getattr(func, "__name__", "")
    if not name.startswith("conv") or len(args) < 2 or not isinstance(args[1], Tensor) or not args[1].dim():
        return 0
    weight = args[1]
    return (args[0] if "transpose" in name else result).numel() // len(weight) * weight[0].numel()


def _takes_values(kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call that may read values for the shape of what it gives does."""
    if kind is _SIZES:
        return _has_number((args, tuple(kwargs.values())))
    return _by_content(args[1]) if kind is _INDEXES else len(args) + len(kwargs) == 1


_PLAIN, _READS, _HOOKS, _INDEXES, _CHOOSES, _SIZES = "plain", "reads", "hooks", "indexes", "chooses", "sizes"
_DIFFERENTIATES, _COUNTS = "differentiates", "counts"
_KINDS: dict[Callable[..., Any], str] = {}


def _kind(func: Callable[..., Any]) -> str:
    name, _ = operation_of(func)
    if name in _READING:
        return _READS
    if name in _COUNTED:
        return _COUNTS
    if name in _HOOKING:
        return _HOOKS
    if name == "grad_fn":
        return _HOOKS
    if name in _SIZED:
        return _SIZES
    if name in _DIFFERENTIATING:
        return _DIFFERENTIATES
    return {"__getitem__": _INDEXES, "__setitem__": _INDEXES, "where": _CHOOSES, "one_hot": _CHOOSES}.get(name, _PLAIN)


def _has_counts(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether the second argument, by whatever name, is a number or several."""
    names = ("repeats", "sections", "indices", "indices_or_sections")
    given = args[1] if len(args) > 1 else next((kwargs[name] for name in names if name in kwargs), None)
    return isinstance(given, int) or (isinstance(given, tuple | list) and all(isinstance(one, int) for one in given))


def _by_content(index: Any) -> bool:
    """Whether an index has a mask in it, or a tensor as the bound of a slice: what is chosen then depends on values."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(
        part.dtype in (torch.bool, torch.uint8)
        if isinstance(part, Tensor)
        else isinstance(part, slice) and any(isinstance(bound, Tensor) for bound in (part.start, part.stop, part.step))
        for part in parts
    )


def _has_number(values: Any) -> bool:
    """Whether a whole number in a tensor is among arguments, lists of sizes included."""
    if isinstance(values, tuple | list):
        return any(_has_number(value) for value in values)
    return isinstance(values, Tensor) and values.dim() == 0 and not (values.is_floating_point() or values.is_complex())
