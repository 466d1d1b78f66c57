"""Where tensors that all examples share meet the examples, and the examples' gradients by such a tensor.

Index letters: n examples, c examples of a chunk, k entries of an example along the axis of the examples.

A parameter may reach the examples through a function of several parameters: a weight norm, a low-rank update, a
network that makes positions. Whatever the function is, all examples share what comes out of it, W. So the gradient of
an example by the parameters is what the function's backward pass makes of the example's gradient by W; and that is
known where W meets the examples, from the gradient that arrives there and from what the operation has saved.
`alignment` tells which tensors are shared. An `Entry` is one operation in which one of them meets the examples.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from mcoherence.gradients.graph.alignment import EXAMPLES_FIRST, SHARED, Layout, by_example, is_bilinear
from mcoherence.gradients.graph.uses import FACTORS, Spread, is_kept, may_spread
from mcoherence.gradients.graph.walk import Users
from mcoherence.gradients.layer_rules.kernels import kernel_gradients

# (settings, saved tensors and output gradients [c, k, *others]) -> gradients [c, *shape of the argument]
Rows = Callable[[Any, tuple[Tensor, ...], Tensor], Tensor]


@dataclass(frozen=True)
class Entry:
    """An operation in which the examples meet a tensor that they share.

    node: its node in the graph.
    argument: which of its arguments the shared tensor is.
    source: the shared tensor.
    layout: where the examples are in the operation's output.
    """

    node: Node
    argument: int
    source: GradientEdge
    layout: Layout

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of the shared tensor."""
        source: Any = self.source.node
        return tuple(source._input_metadata[self.source.output_nr].shape)

    @cached_property
    def _spread(self) -> Spread | None:
        if (self.node.name(), self.argument) not in FACTORS:
            return None
        padded = (1,) * (len(self.node._input_metadata[0].shape) - len(self.shape)) + self.shape
        return Spread(self.node, self.argument, padded, None)

    def is_understood(self, examples: int) -> bool:
        """Whether the examples' gradients can be had here."""
        (axis, outer), output = self.layout, self.node._input_metadata[0]
        if output.dtype.is_complex or axis >= len(output.shape) or not output.shape[axis]:
            return False
        if output.shape[axis] % (outer * examples):
            return False
        if (spread := self._spread) is not None:
            return may_spread(spread.shape, tuple(output.shape)) and spread.is_kept() and spread.fits(self.layout)
        known = _OPERATIONS.get((self.node.name(), self.argument))
        return known is not None and known.axis in (None, axis) and known.is_ready(self.node)

    def arrived(self, output_grads: Tensor, examples: int, wide: Callable[[Tensor], Tensor]) -> "Arrived":
        """What is to be known of the gradient of the operation's output, while its node has what it saved."""
        if (spread := self._spread) is not None:
            return Arrived(self.shape, spread.rows(wide(output_grads), self.layout, examples), (), None)
        node, known = self.node, _OPERATIONS[self.node.name(), self.argument]
        grads, *saved = (
            by_example(wide(value.detach()) if value.is_floating_point() else value, self.layout, examples)
            for value in (output_grads, *known.saved_by(node))
        )
        return Arrived(self.shape, grads, tuple(saved), partial(known.rows, known.settings(node)))


@dataclass(frozen=True)
class Arrived:
    """The gradient that came to an entry.

    shape: of the shared tensor.
    given: gradient of the operation's output, [n, k, *others]; or of the shared tensor, [n, elements].
    saved: what the operation has saved of the examples, [n, k, *others] each.
    made: gradients [c, *shape] of both for a chunk; None where they are given.
    """

    shape: tuple[int, ...]
    given: Tensor
    saved: tuple[Tensor, ...]
    made: Callable[[tuple[Tensor, ...], Tensor], Tensor] | None

    @property
    def rows_size(self) -> int:
        """Elements of the gradient of one example."""
        return math.prod(self.shape)

    def rows(self, part: slice) -> Tensor:
        """The gradients [c, *shape] of the examples of a part by the shared tensor."""
        given = self.given[part]
        if self.made is not None:
            given = self.made(tuple(one[part] for one in self.saved), given)
        return given.reshape(len(given), *self.shape)


def _no_settings(node: Any) -> None:
    return None


def _always(node: Any) -> bool:
    return True


@dataclass(frozen=True)
class _Operation:
    """How the gradients by a shared argument are had of an operation.

    rows: of its settings, of what it has saved of the examples, and of the gradient of its output.
    saved: names of what it has saved of the examples.
    axis: where these have to be in its output; None anywhere.
    settings: what else is to be known of the node.
    others: names of saved tensors among that.
    fits: whether the operation is one that is understood.
    """

    rows: Rows
    saved: tuple[str, ...] = ()
    axis: int | None = 0
    settings: Callable[[Any], Any] = _no_settings
    others: tuple[str, ...] = ()
    fits: Callable[[Any], bool] = _always

    def is_ready(self, node: Any) -> bool:
        """Whether what the node has saved is there still, and the operation is one that is understood."""
        kept = (is_kept(node, f"_raw_saved_{name}", name) for name in (*self.saved, *self.others))
        return all(kept) and self.fits(node)

    def saved_by(self, node: Any) -> tuple[Tensor, ...]:
        """What the node has saved of the examples."""
        found = (getattr(node, f"_saved_{name}") for name in self.saved)
        return tuple(value[0] if isinstance(value, tuple) else value for value in found)


def entries_of(users: Users, leaf: Node, places: Mapping[Node, Layout], examples: int) -> tuple[Entry, ...] | None:
    """All entries of what is computed of a parameter; None where one is not understood, or it meets no example.

    Args:
        users: the graph below the losses.
        leaf: the parameter's node.
        places: where the examples are in the outputs of nodes, and what they share.
        examples: their number, n.
    """
    found: list[Entry] = []
    waiting, seen = [(leaf, 0)], {(leaf, 0)}
    while waiting:
        node, output = waiting.pop()
        for user, argument in users[node]:
            if argument is None:  # what the examples go through
                return None
            if user.next_functions[argument][1] != output:
                continue
            if places.get(user) == SHARED:
                above = [(user, number) for number in range(len(user._input_metadata))]
                waiting += [one for one in above if one not in seen]
                seen.update(above)
                continue
            entry = Entry(user, argument, GradientEdge(node, output), places.get(user, EXAMPLES_FIRST))
            if len(found) == MOST_ENTRIES or not entry.is_understood(examples):
                return None
            found.append(entry)
    return tuple(found) or None


MOST_ENTRIES = 256  # of each the gradients are kept until all have come


# Settings are the factor of the product.


def _factor(node: Any) -> Any:
    return getattr(node, "_saved_alpha", 1)


def _right_of_matrices(factor: Any, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    return _times(saved[0].transpose(1, 2) @ grads, factor)


def _left_of_matrices(factor: Any, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    return _times(grads.transpose(1, 2) @ saved[0], factor)


def _right_of_batched(factor: Any, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    """[c, k, b, i] and [c, k, b, o] -> [c, b, i, o]."""
    return _times(saved[0].permute(0, 2, 3, 1) @ grads.transpose(1, 2), factor)


def _left_of_batched(factor: Any, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    return _times(grads.permute(0, 2, 3, 1) @ saved[0].transpose(1, 2), factor)


def _times(rows: Tensor, factor: Any) -> Tensor:
    return rows if factor == 1 else rows * factor


def _vector(settings: None, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    return (saved[0] * grads.unsqueeze(-1)).sum(dim=1)


def _bilinear(settings: None, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    return torch.einsum("cko,cki,ckj->coij", grads, *saved)


def _of_kernel(node: Any) -> tuple[tuple[int, ...], dict[str, Any]]:
    options = ("stride", "padding", "dilation", "groups", "transposed", "output_padding")
    return tuple(node._saved_weight.shape), {name: getattr(node, f"_saved_{name}") for name in options}


def _kernel(settings: tuple[tuple[int, ...], dict[str, Any]], saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    shape, options = settings
    rows = kernel_gradients(saved[0].flatten(0, 1), grads.flatten(0, 1), shape, **options)
    return rows if saved[0].shape[1] == 1 else rows.reshape(*grads.shape[:2], *shape).sum(dim=1)


def _over_positions(settings: object, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    """[c, k, channels, *positions] -> [c, channels]."""
    return grads.flatten(3).sum(dim=(1, 3)) if grads.dim() > 3 else grads.sum(dim=1)


def _of_batch_norm(node: Any) -> tuple[Tensor, Tensor]:
    """What is taken off each channel, and what it is multiplied by."""
    return node._saved_running_mean, (node._saved_running_var + node._saved_eps).rsqrt()


def _batch_norm_weight(settings: tuple[Tensor, Tensor], saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    mean, scale = (value.to(grads.dtype).reshape(-1, *[1] * (grads.dim() - 3)) for value in settings)
    return _over_positions(None, (), (saved[0] - mean) * scale * grads)


def _normalized_axes(node: Any) -> int:
    return len(node._saved_normalized_shape)


def _layer_norm_weight(axes: int, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    inputs, mean, scale = saved
    return _over_others(axes, (), (inputs - mean) * scale * grads)


def _over_others(axes: int, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    """Over all but the examples' axis and those of the weight, which are last."""
    return grads.flatten(1, grads.dim() - axes - 1).sum(dim=1)


def _groups(node: Any) -> int:
    return int(node._saved_group)


def _group_norm_weight(groups: int, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    inputs, mean, scale = saved
    grouped = inputs.reshape(*inputs.shape[:2], groups, -1)
    normalized = (grouped - mean.unsqueeze(-1)) * scale.unsqueeze(-1)
    return _over_positions(None, (), normalized.reshape(grads.shape) * grads)


def _of_table(node: Any) -> tuple[int, int]:
    """Rows of the table, and the one that takes no gradient, or -1."""
    if node.name() == "IndexBackward0":
        return node._saved_self_sym_sizes[0], -1
    size, padding = node._saved_weight_sym_argsize_0, node._saved_padding_idx
    return size, padding if padding < size else -1


def _has_one_index(node: Any) -> bool:
    """Of w[index]: whether there is one index, of numbers, along the first axis."""
    indices = node._saved_indices
    return len(indices) == 1 and indices[0] is not None and indices[0].dtype != torch.bool


def _is_plain_lookup(node: Any) -> bool:
    return not node._saved_scale_grad_by_freq


def _table(settings: tuple[int, int], saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    """[c, *positions] and [c, *positions, *row] -> [c, rows, *row]."""
    size, padding = settings
    index = saved[0].reshape(len(grads), -1) % size
    given = grads.reshape(*index.shape, -1)
    if padding >= 0:
        given = given * (index != padding).unsqueeze(-1)
    first = torch.arange(len(grads), device=index.device).unsqueeze(1) * size
    found = given.new_zeros(len(grads) * size, given.shape[2])
    return found.index_add_(0, (index + first).flatten(), given.flatten(0, 1)).reshape(len(grads), size, -1)


def _repeats(node: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(node._saved_self_sym_sizes), tuple(node._saved_repeats)


def _is_repeated_for_examples(node: Any) -> bool:
    """Whether no other axis than the first is repeated, or one of a single entry is."""
    sizes, repeats = _repeats(node)
    return len(sizes) == len(repeats) and all(1 in pair for pair in zip(sizes[1:], repeats[1:], strict=True))


def _repeated(settings: tuple[tuple[int, ...], tuple[int, ...]], saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    sizes, repeats = settings
    spread = [2 + place for place, count in enumerate(repeats[1:]) if count != 1]
    given = grads.sum(dim=spread, keepdim=True) if spread else grads
    return given.reshape(len(grads), -1, *sizes).sum(dim=1)


_OF_BATCH_NORM = ("running_mean", "running_var")
_OPERATIONS: dict[tuple[str, int], _Operation] = {
    ("MmBackward0", 0): _Operation(_left_of_matrices, ("mat2",), 1, _factor),
    ("MmBackward0", 1): _Operation(_right_of_matrices, ("self",), 0, _factor),
    ("AddmmBackward0", 1): _Operation(_left_of_matrices, ("mat2",), 1, _factor),
    ("AddmmBackward0", 2): _Operation(_right_of_matrices, ("mat1",), 0, _factor),
    ("BmmBackward0", 0): _Operation(_left_of_batched, ("mat2",), 2, _factor),
    ("BmmBackward0", 1): _Operation(_right_of_batched, ("self",), 1, _factor),
    ("BaddbmmBackward0", 1): _Operation(_left_of_batched, ("batch2",), 2, _factor),
    ("BaddbmmBackward0", 2): _Operation(_right_of_batched, ("batch1",), 1, _factor),
    ("EmbeddingBackward0", 0): _Operation(_table, ("indices",), 0, _of_table, fits=_is_plain_lookup),
    ("IndexBackward0", 0): _Operation(_table, ("indices",), 0, _of_table, fits=_has_one_index),
    ("RepeatBackward0", 0): _Operation(_repeated, (), 0, _repeats, fits=_is_repeated_for_examples),
    ("TrilinearBackward0", 1): _Operation(_bilinear, ("i1", "i3"), 0, fits=is_bilinear),
    ("MvBackward0", 1): _Operation(_vector, ("self",)),
    ("ConvolutionBackward0", 1): _Operation(_kernel, ("input",), settings=_of_kernel, others=("weight",)),
    ("ConvolutionBackward0", 2): _Operation(_over_positions),
    ("NativeBatchNormBackward0", 1): _Operation(_batch_norm_weight, ("input",), 0, _of_batch_norm, _OF_BATCH_NORM),
    ("NativeBatchNormBackward0", 2): _Operation(_over_positions),
    ("NativeLayerNormBackward0", 1): _Operation(
        _layer_norm_weight, ("input", "result1", "result2"), None, _normalized_axes
    ),
    ("NativeLayerNormBackward0", 2): _Operation(_over_others, (), None, _normalized_axes),
    ("NativeGroupNormBackward0", 1): _Operation(_group_norm_weight, ("input", "result1", "result2"), 0, _groups),
    ("NativeGroupNormBackward0", 2): _Operation(_over_positions),
}
