"""What a forward pass does that autograd's graph does not show: values read by Python, and hooks put on tensors.

A model that asks for the value of a tensor (`if x.mean() > 0`, `.item()`), or for rows chosen by content, may go
another way for a batch than for an example alone. A hook on a tensor may change gradients otherwise than by a factor.
Both are calls of torch's functions, so that a function mode sees them, at a cost of about a microsecond for each call.

What was computed of sizes, constants and weights alone is the same whatever the examples are, and may be read: language
models ask so whether positions are those of one text. Which tensors these are is followed from call to call, at a cost
of a few microseconds, and so for models only that were seen to read something. A tensor is taken for such a one only if
every tensor that it was computed of is; one that came in any other way is not.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_READING = {
    *("__bool__", "__int__", "__float__", "__complex__", "__index__", "__contains__", "__array__", "item", "tolist"),
    *("numpy", "is_nonzero", "equal", "allclose", "nonzero", "argwhere", "masked_select", "unique"),
    *("unique_consecutive", "bincount", "repeat_interleave", "tensor_split"),
    *(
        "_pack_padded_sequence",
        "_pad_packed_sequence",
        "__format__",
        "__repr__",
        "__dlpack__",
        "data_ptr",
        "untyped_storage",
        "storage",
    ),
}
# Functions that read a size or a number from a tensor which is handed over in its place.
_SIZED = {
    *("arange", "range", "linspace", "logspace", "zeros", "ones", "full", "empty", "eye", "rand", "randn", "new_zeros"),
    *("new_ones", "new_full", "new_empty", "narrow", "split", "split_with_sizes", "chunk", "expand", "repeat", "tile"),
    *("view", "reshape", "unflatten", "unfold", "as_strided", "select", "roll", "pad", "tril_indices", "triu_indices"),
    *("tril", "triu"),
}
_HOOKING = {"register_hook", "register_multi_grad_hook"}


class Watch(TorchFunctionMode):
    """A record of the calls inside the block.

    fixed: the model's weights and buffers, where what is computed of them alone may be read; None if nothing may.
    values_read: a value, or a shape that depends on values, came back to Python.
    hooks: a hook was put on a tensor, or its node was asked for, where one can be put too.
    """

    def __init__(self, fixed: Iterable[Tensor] | None = None) -> None:
        super().__init__()
        # By id, and kept alive, so that no other tensor takes one over.
        self._fixed = None if fixed is None else {id(tensor): tensor for tensor in fixed}
        self.values_read = False
        self.hooks = False

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
        if kind is not _PLAIN:
            self._note(kind, args, kwargs)
        result = func(*args, **kwargs) if kwargs else func(*args)
        if self._fixed is not None:
            self._follow(func, args, kwargs or {}, result)
        return result

    def _follow(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Take the result of a call in, if it is fixed; once something else is written into one, none is."""
        assert self._fixed is not None
        other = bool(args) and isinstance(args[0], Tensor) and id(args[0]) not in self._fixed  # most calls
        if not other and self._is_fixed(args) and self._is_fixed(kwargs):
            for one in result if isinstance(result, tuple | list) else (result,):
                if isinstance(one, Tensor) and self._fixed is not None:
                    self._fixed[id(one)] = one
        elif (
            (not other or "out" in kwargs) and _writes(func, kwargs) and self._any_fixed((args[:1], kwargs.get("out")))
        ):
            self._fixed = None

    def _is_fixed(self, values: Any) -> bool:
        """Whether every tensor among arguments is; what may hold tensors unseen is not."""
        if self._fixed is None:
            return False
        if isinstance(values, Tensor):
            return id(values) in self._fixed
        if values is None or isinstance(values, _PLAIN_TYPES):
            return True
        if isinstance(values, tuple | list):
            return all(self._is_fixed(value) for value in values)
        if isinstance(values, Mapping):
            return all(self._is_fixed(value) for value in values.values())
        if isinstance(values, slice):
            return self._is_fixed((values.start, values.stop, values.step))
        return False

    def _any_fixed(self, values: Any) -> bool:
        if isinstance(values, tuple | list):
            return any(self._any_fixed(value) for value in values)
        return isinstance(values, Tensor) and self._is_fixed(values)

    def _note(self, kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None) -> None:
        if kind is _HOOKS:
            self.hooks = True
        elif self._is_fixed((args[1:] if kind is _INDEXES else args, kwargs)):
            return
        elif kind is _SIZES:
            self.values_read |= _has_number((args, tuple((kwargs or {}).values())))
        elif kind is _INDEXES:
            self.values_read |= _by_content(args[1])
        elif kind is _CHOOSES:
            self.values_read |= len(args) + len(kwargs or {}) == 1
        else:
            self.values_read = True


# Of what is no tensor, and holds none.
_PLAIN_TYPES = (bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(...))


def _writes(func: Callable[..., Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a function writes into its first argument, or into another that is handed over for it."""
    name = getattr(func, "__name__", "").partition(".")[0]  # an operation's, without its overload's
    into_itself = name.endswith("_") and not name.endswith("__")
    by_operator = name.startswith("__i") and name not in ("__invert__", "__index__", "__int__")
    return into_itself or by_operator or name in ("__setitem__", "__set__") or "out" in kwargs or "inplace" in kwargs


_PLAIN, _READS, _HOOKS, _INDEXES, _CHOOSES, _SIZES = "plain", "reads", "hooks", "indexes", "chooses", "sizes"
_KINDS: dict[Callable[..., Any], str] = {}


def _kind(func: Callable[..., Any]) -> str:
    name = getattr(func, "__name__", "")
    if name in _READING:
        return _READS
    if name in _HOOKING:
        return _HOOKS
    if name == "__get__" and getattr(getattr(func, "__self__", None), "__name__", "") == "grad_fn":
        return _HOOKS
    if name in _SIZED:
        return _SIZES
    return {"__getitem__": _INDEXES, "__setitem__": _INDEXES, "where": _CHOOSES, "one_hot": _CHOOSES}.get(name, _PLAIN)


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
