"""What a forward pass does that autograd's graph does not show: values read by Python, and hooks put on tensors.

A model that asks for the value of a tensor (`if x.mean() > 0`, `.item()`), or for rows chosen by content, may go
another way for a batch than for an example alone. A hook on a tensor may change gradients otherwise than by a factor.
Both are calls of torch's functions, so that a function mode sees them, at a cost of about a microsecond for each call.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_READING = {
    *("__bool__", "__int__", "__float__", "__complex__", "__index__", "__contains__", "__array__", "item", "tolist"),
    *("numpy", "is_nonzero", "equal", "allclose", "nonzero", "argwhere", "masked_select", "unique"),
    *("unique_consecutive", "bincount", "repeat_interleave"),
}
_HOOKING = {"register_hook", "register_multi_grad_hook"}


class Watch(TorchFunctionMode):
    """A record of the calls inside the block.

    values_read: a value, or a shape that depends on values, came back to Python.
    hooks: a hook was put on a tensor, or its node was asked for, where one can be put too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values_read = False
        self.hooks = False
        self._ours = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if not self._ours:
            self._note(func, args)
        return func(*args, **(kwargs or {}))

    @contextmanager
    def ours(self) -> Iterator[None]:
        """Calls inside the block are not the model's."""
        before, self._ours = self._ours, True
        try:
            yield
        finally:
            self._ours = before

    def _note(self, func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        name = getattr(func, "__name__", "")
        if name in _READING or (name == "__getitem__" and _by_mask(args[1])) or (name == "where" and len(args) == 1):
            self.values_read = True
        elif name in _HOOKING or (name == "__get__" and _attribute(func) == "grad_fn"):
            self.hooks = True


def _attribute(getter: Callable[..., Any]) -> str:
    return str(getattr(getattr(getter, "__self__", None), "__name__", ""))


def _by_mask(index: Any) -> bool:
    """Whether an index has a mask in it: what is chosen then depends on values."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8) for part in parts)
