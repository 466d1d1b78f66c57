"""What a forward pass computes of the examples without a gradient: there they may mix, and no graph shows it.

An example's mask, length or index is computed of that example; the longest text of a batch, or how many examples an
expert has had, of them all. Both are tensors without a gradient, and autograd's graph shows only what has one. Calls
that keep the rows of such tensors apart are known (`row_by_row`); any other is taken for one that may mix them. That
costs a look at the examples alone, and no more.

Index letter: n examples.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mcoherence.gradients.graph.row_by_row import (
    BY_SHAPE,
    ELEMENTWISE,
    REARRANGING,
    RESHAPING,
    UNIFORM,
    axis_after,
    keeps_apart,
    operation_of,
    tensors_in,
)

# Bytes of constants that a pass makes and that are kept here; beyond it examples count as mixed.
MOST_CONSTANTS = 2**28

# What most calls give that give no tensors.
_NO_TENSORS = {bool, int, float, str, torch.Size, torch.dtype, torch.device, torch.layout}


class Untraced:
    """Whether examples may have met in the calls so far where no gradient goes.

    Args:
        examples: their number, n.
        own: the model's parameters and buffers, by id.
        given: inputs and targets, [n, ...] each.

    found: whether they may, or so many constants were made that nobody can tell.
    """

    def __init__(self, examples: int, own: Mapping[int, Tensor], given: Iterable[Tensor]) -> None:
        self.found = False
        # Row i is of example i; let go with the tensors, which may be large. By id, so each with the tensor itself.
        self._rows = {id(one): weakref.ref(one) for one in given}
        self._examples, self._own = examples, own
        # By id, and kept alive, so that no other tensor takes one over. Constants with their version, which counts what
        # is written into them, by `.data` excepted: what that is asked of is no constant from then on.
        self._constants = {key: (one, _version(one)) for key, one in own.items()}
        self._turned: dict[int, tuple[Tensor, int | None]] = {}  # that have the examples elsewhere than first; where
        # Numbers of several examples. Python may ask for them, which is looked after elsewhere (`watching`).
        self._numbers: dict[int, Tensor] = {}
        self._places: dict[int, Tensor] = {}  # 0, 1, 2, ... along the first axis, of constants
        self._by_place: dict[int, Tensor] = {}  # constants with n rows that may be different ones
        self._bytes = 0

    def forget(self) -> None:
        """Let go of all tensors: the pass is over."""
        self._constants, self._turned, self._numbers, self._places, self._rows, self._by_place = {}, {}, {}, {}, {}, {}

    def take(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Take in a call, and what it gave."""
        if self.found or type(result) in _NO_TENSORS:
            return
        try:
            if not (isinstance(result, Tensor) and result.requires_grad and self._is_shown(args, kwargs)):
                self._look_at(function, args, kwargs, result)
        except Exception:  # tensors of kinds that tell nothing of themselves; the user's pass must not fail by this
            self.found = True
        if self.found:
            self.forget()

    def _look_at(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any
    ) -> None:
        name, writes = operation_of(function)
        written = args[0] if writes and args and isinstance(args[0], Tensor) else None
        given = tensors_in((args[1:] if name in BY_SHAPE else args, *kwargs.values()))
        shown = [one for one in given if one.requires_grad and id(one) not in self._own]
        unseen = [one for one in given if not (one.requires_grad or self._is_constant(one, one is written))]
        made = tensors_in(args[0] if name in ("__setitem__", "__set__") else result)
        has_other_names = "out" in kwargs or (written is not None and written._base is not None)
        if not made:
            return
        if name == "data" and not (unseen or shown):
            for one in given:  # to which it is another way, that no version tells of
                self._constants.pop(id(one), None)
        elif name == "__set__":  # such as `.data` of a tensor, which is another one then
            self.found = bool(unseen or shown)
        elif any(self._is_other_leaf(one) for one in shown):
            self.found = True  # what is computed of it is in no graph of a parameter
        elif (unseen or shown) and any(self._is_by_place(one, name, made) for one in given):
            self.found = True  # an example then hangs on its place in the batch
        elif not unseen and (not shown or all(one.requires_grad for one in made)):
            self._places.pop(id(written), None)
            self._keep([one for one in made if not one.requires_grad])
            self._take_by_place(name, given, made)
            if self._are_places(name, args, kwargs, made):
                self._places[id(made[0])] = made[0]
        elif self._is_known_layer(name, args, kwargs, unseen):
            pass
        elif any(self._is_mixed(one, name, args) for one in unseen):
            self.found = not (self._are_numbers(made) and all(id(one) in self._numbers for one in unseen))
        elif has_other_names or (shown and not all(one.requires_grad for one in made)):
            self.found = True  # of an activation, maybe one that no loss comes back to
        elif any(id(one) in self._turned for one in unseen) or axis_after(name, args, made, 0):
            self._take_turned(made, name, args)
        elif not (keeps_apart(name, args, kwargs, unseen, made) or self._takes_own_rows(name, args, unseen, made)):
            self._take_mixing(name, made)
        else:
            self._constants.pop(id(written), None)
            self._rows |= {id(one): weakref.ref(one) for one in made if not one.requires_grad}
        if self._are_numbers(made) and unseen:
            self._numbers |= {id(one): one for one in made}

    def _take_mixing(self, name: str, made: Sequence[Tensor]) -> None:
        if self._are_numbers(made):
            return
        if name in REARRANGING and not any(one.requires_grad for one in made):
            self._turned |= {id(one): (one, None) for one in made}
        else:
            self.found = True

    def _take_turned(self, made: Sequence[Tensor], name: str, args: Sequence[Any]) -> None:
        _, axis = self._turned.get(id(args[0]), (None, 0)) if args else (None, None)
        axis = None if axis is None else axis_after(name, args, made, axis)
        self._turned |= {id(one): (one, axis) for one in made if not one.requires_grad}

    @staticmethod
    def _are_numbers(made: Sequence[Tensor]) -> bool:
        return bool(made) and all(not (one.dim() or one.requires_grad) for one in made)

    def _is_shown(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether all that a call was given has a gradient or is the model's own; to be told quickly, of most calls."""
        for one in (*args, *kwargs.values()) if kwargs else args:
            if isinstance(one, Tensor):
                if id(one) not in self._own and (one.grad_fn is None or not one.requires_grad):
                    return False
            elif isinstance(one, dict) or (
                type(one) in (tuple, list) and any(isinstance(part, Tensor) for part in one)
            ):
                return False
        return True

    def _is_other_leaf(self, tensor: Tensor) -> bool:
        """Whether a tensor with a gradient is none of the model's own, such as an input."""
        return tensor.is_leaf and id(tensor) not in self._own

    def _is_mixed(self, tensor: Tensor, name: str, args: Sequence[Any]) -> bool:
        """Whether the rows of a tensor are not known to be the examples', so that a call of it may mix them."""
        if id(tensor) in self._turned:
            by_element = name == "embedding" or (name == "linear" and tensor.dim() > 2)  # wherever the examples are
            return not (by_element and args[0] is tensor)
        known = self._rows.get(id(tensor))
        return known is None or known() is not tensor or len(tensor) != self._examples

    def _is_known_layer(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], unseen: Sequence[Tensor]
    ) -> bool:
        """Whether it is attention or a recurrent layer, with the examples where torch takes them to be.

        Attention has queries, keys and values [t, n, d] and masks [n, t]; an nn.MultiheadAttention that has the
        examples first turns what it was given. A recurrent layer is told whether they are first.
        """
        if name == "multi_head_attention_forward":
            masks = [one for one in unseen if all(one is not other for other in args[:3])]
            turned = [one for one in unseen if any(one is other for other in args[:3])]
            n = self._examples
            return all(self._turned.get(id(one), (one, None))[1] == 1 and one.dim() == 3 for one in turned) and all(
                one is kwargs.get("key_padding_mask") and len(one) == n and not self._is_mixed(one, name, args)
                for one in masks
            )
        known = name in ("lstm", "gru", "rnn_tanh", "rnn_relu") and len(unseen) == 1 and unseen[0] is args[0]
        return known and isinstance(args[2], list) and args[-1] is True and not self._is_mixed(args[0], name, args)

    def _is_constant(self, tensor: Tensor, is_written: bool) -> bool:
        """Whether a tensor hangs on no example; of one that was just written to, whether it did not before."""
        if id(tensor) not in self._constants:
            return False
        return self._constants[id(tensor)][1] == _version(tensor) - is_written

    def _keep(self, made: Sequence[Tensor]) -> None:
        for one in made:
            if one.is_inference():
                continue
            if id(one) not in self._constants and one._base is None:
                self._bytes += one.numel() * one.element_size()
            self._constants[id(one)] = one, one._version
        self.found = self._bytes > MOST_CONSTANTS

    def _take_by_place(self, name: str, given: Sequence[Tensor], made: Sequence[Tensor]) -> None:
        """Of constants: take in those that have as many rows as there are examples, not known to be the same."""
        of_these = any(id(one) in self._by_place for one in given)
        if of_these or name not in (*UNIFORM, *ELEMENTWISE, *REARRANGING):
            n = self._examples
            self._by_place |= {id(one): one for one in made if of_these or (one.dim() > 0 and len(one) == n)}

    def _is_by_place(self, tensor: Tensor, name: str, made: Sequence[Tensor]) -> bool:
        """Whether row i of a constant meets example i in a call, and other examples meet other rows."""
        known = id(tensor) in self._by_place and name not in ("__getitem__", "__setitem__")
        return known and tensor.dim() == made[0].dim() and len(tensor) == self._examples

    def _are_places(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], made: Sequence[Tensor]) -> bool:
        """Whether a call of constants has made arange(n), or given it further axes, as arange(n)[:, None] does."""
        if name == "arange":
            return len(args) == 1 and isinstance(args[0], int) and not {"start", "step"} & kwargs.keys()
        of_places = bool(args) and id(args[0]) in self._places
        if name not in ("__getitem__", *RESHAPING) or not of_places or not made[0].dim():
            return False
        index = args[1] if name == "__getitem__" else ()
        parts = index if isinstance(index, tuple) else (index,)
        if not all(one is None or one is Ellipsis or (type(one) is slice and one == slice(None)) for one in parts):
            return False
        return made[0].numel() == len(made[0]) == len(args[0])

    def _takes_own_rows(self, name: str, args: Sequence[Any], unseen: Sequence[Tensor], made: Sequence[Tensor]) -> bool:
        """Whether row i of what an index chooses is of row i, as in x[arange(n)[:, None], columns]."""
        if name != "__getitem__" or not args[1:]:
            return False
        first, given = args[1], args[0]
        if isinstance(first, Tensor) and self._is_constant(given, False):  # each example looks something up
            return first.dim() > 0 and len(first) == len(made[0])
        if not isinstance(first, tuple) or not first:
            return False
        first = first[0]
        if id(first) not in self._places or not self._is_constant(first, False) or not (given.dim() and made[0].dim()):
            return False
        tensors = [one for one in args[1] if isinstance(one, Tensor)]
        spread = len(tensors) == len(args[1]) and all(one.dim() <= first.dim() for one in tensors)
        aligned = all(one is given or one.dim() == first.dim() for one in unseen)
        return spread and aligned and len(first) == len(given) == len(made[0])


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else int(tensor._version)
