"""Where tensors that all examples share meet the examples, and the examples' gradients by such a tensor.

Index letters: n examples, c examples of a chunk, k entries of an example along the axis of the examples.

A parameter may reach the examples through a function of several parameters: a weight norm, a low-rank update, a
network that makes positions. Whatever the function is, all examples share what comes out of it, W. So the gradient of
an example by the parameters is what the function's backward pass makes of the example's gradient by W; and that is
known where W meets the examples, from the gradient that arrives there and from what the operation has saved.
`alignment` tells which tensors are shared. An `Entry` is one operation in which one of them meets the examples.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from mcoherence.gradients.given.alone import dense
from mcoherence.gradients.graph.layout import EXAMPLES_FIRST, SHARED, Layout, Shape, by_example, may_hold
from mcoherence.gradients.graph.sharing import is_bilinear
from mcoherence.gradients.graph.uses import SPREADING, Spread, is_kept
from mcoherence.gradients.graph.walk import Users, makes_view
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
    def shape(self) -> Shape:
        """Of the shared tensor."""
        source: Any = self.source.node
        return tuple(source._input_metadata[self.source.output_nr].shape)

    @cached_property
    def _spread(self) -> Spread | None:
        if (self.node.name(), self.argument) not in SPREADING:
            return None
        padded = (1,) * (len(self.node._input_metadata[0].shape) - len(self.shape)) + self.shape
        return Spread(self.node, self.argument, padded)

    def is_understood(self, examples: int) -> bool:
        """Whether the examples' gradients can be had here."""
        output = self.node._input_metadata[0]
        if output.dtype.is_complex or not may_hold(tuple(output.shape), self.layout, examples):
            return False
        if (spread := self._spread) is not None:
            return spread.is_kept() and spread.fits(self.layout)
        known = _OPERATIONS.get((self.node.name(), self.argument))
        return known is not None and known.is_ready(self.node, self.layout, examples)

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

    shape: Shape
    given: Tensor
    saved: tuple[Tensor, ...]
    made: Callable[[tuple[Tensor, ...], Tensor], Tensor] | None

    @property
    def size(self) -> int:
        """Elements that are kept of it."""
        return self.given.numel() + sum(one.numel() for one in self.saved)

    def rows(self, part: slice) -> Tensor:
        """The gradients [c, *shape] of the examples of a part by the shared tensor."""
        given = self.given[part]
        if self.made is not None:
            given = self.made(tuple(one[part] for one in self.saved), given)
        return given.reshape(len(given), *self.shape)


@dataclass(frozen=True)
class Followed:
    """Nodes of the graph: of all that calls gave, and of tensors that were computed of weights and constants alone."""

    seen: AbstractSet[Node]
    fixed: AbstractSet[Node]


class Entries:
    """The entries of all shared tensors of a graph, each looked for once.

    Args:
        users: the graph below the losses.
        layouts: where the examples are in the outputs of nodes, and what they share.
        examples: their number, n.
        weights: ids of the model's parameters.
        followed: what the tensors of the pass were computed of; None where nobody has followed it.
    """

    def __init__(
        self,
        users: Users,
        layouts: Mapping[Node, Layout],
        examples: int,
        weights: AbstractSet[int],
        followed: Followed | None,
    ) -> None:
        self._users, self._layouts, self._examples = users, layouts, examples
        self._weights, self._followed = weights, followed
        self.unfollowed = False  # whether more entries might be understood, had it been followed
        self._above: dict[Node, dict[tuple[Node, int], Entry] | None] = {}  # a shared node, by node and argument

    def of(self, leaf: Node) -> tuple[Entry, ...] | None:
        """Those of what is computed of a parameter, given its node.

        None where one is not understood, or it meets no example.
        """
        shared = self._shared_above(leaf)
        for node in shared:
            if node not in self._above:
                self._above[node] = self._entries_above(node)
        found = self._above[leaf]
        return tuple(found.values()) or None if found is not None else None

    def _shared_above(self, leaf: Node) -> list[Node]:
        """The leaf and the shared nodes above it of which the entries are not known yet, each after its users."""
        order: dict[Node, None] = {}
        begun: set[Node] = set()
        stack = [leaf]
        while stack:
            node = stack[-1]
            if node in self._above or node in order:
                stack.pop()
            elif node in begun:
                order[stack.pop()] = None
            else:
                begun.add(node)
                stack += [user for user, _ in self._users[node] if self._layouts.get(user) == SHARED]
        return list(order)

    def _entries_above(self, node: Node) -> dict[tuple[Node, int], Entry] | None:
        found: dict[tuple[Node, int], Entry] = {}
        for user, argument in self._users[node]:
            if argument is None:  # what the examples go through
                return None
            if self._layouts.get(user) == SHARED:
                above = self._above[user]
                if above is None:
                    return None
                found |= above
                continue
            source = GradientEdge(node, user.next_functions[argument][1])
            entry = Entry(user, argument, source, self._layouts.get(user, EXAMPLES_FIRST))
            if not entry.is_understood(self._examples) or not self._is_fixed(node):
                return None
            found[user, argument] = entry
        return found if len(found) <= _MOST_ENTRIES else None

    def _is_fixed(self, node: Any) -> bool:
        """Whether what all examples share hangs on none of them.

        Were it computed of the batch, an example's gradient would be another in another batch, and no sum would tell.
        """
        while (variable := getattr(node, "variable", None)) is None:
            if self._followed is None:
                self.unfollowed = True
                return False
            if node in self._followed.fixed:
                return True
            # Views and copies of a parameter are made within calls, unseen.
            below = [following for following, _ in node.next_functions]
            made_within = node not in self._followed.seen and (makes_view(node.name()) or node.name() in _COPIES)
            if not made_within or len(below) != 1 or below[0] is None:
                return False
            node = below[0]
        return id(variable) in self._weights


_COPIES = ("CloneBackward0", "ToCopyBackward0")
_MOST_ENTRIES = 4096


def pulled_back(source: GradientEdge, leaves: Sequence[Tensor], rows: Tensor) -> Sequence[Tensor | None]:
    """Gradients [c, *shape of the leaf] from those [c, *shape] by what is computed of them, in its dtype."""
    node: Any = source.node
    given = rows.to(node._input_metadata[source.output_nr].dtype)
    if _is_lookup_of(node, leaves):
        index = node._saved_indices.expand(len(rows), *node._saved_indices.shape)
        return [_table(_of_table(node), (index,), given)]
    try:
        found = torch.autograd.grad(source, leaves, given, retain_graph=True, allow_unused=True, is_grads_batched=True)
        return [None if one is None else dense(one) for one in found]
    except RuntimeError:  # a function that somebody has written for single gradients
        ones = [torch.autograd.grad(source, leaves, one, retain_graph=True, allow_unused=True) for one in given]
        return [None if of_leaf[0] is None else dense(torch.stack(of_leaf)) for of_leaf in zip(*ones, strict=True)]


def _is_lookup_of(node: Any, leaves: Sequence[Tensor]) -> bool:
    """Whether it is a table looked up for all examples, where batched autograd takes several times as long."""
    if node.name() != "EmbeddingBackward0" or len(leaves) != 1 or not _is_plain_lookup(node):
        return False
    return getattr(node.next_functions[0][0], "variable", None) is leaves[0] and is_kept(
        node, "_raw_saved_indices", "indices"
    )


def numbers_below(sources: Sequence[Node]) -> dict[Node, int]:
    """How many numbers the operations between shared tensors and their parameters make, {node: elements}."""
    made: dict[Node, int] = {}
    waiting = list(sources)
    while waiting:
        node: Any = waiting.pop()
        if node not in made:
            made[node] = sum(math.prod(one.shape) for one in node._input_metadata)
            waiting += [below for below, _ in node.next_functions if below is not None]
    return made


def _no_settings(node: Any) -> None:
    return None


def _first(node: Any, layout: Layout, examples: int) -> bool:
    return layout[0] == 0


def _second(node: Any, layout: Layout, examples: int) -> bool:
    return layout[0] == 1


def _third(node: Any, layout: Layout, examples: int) -> bool:
    return layout[0] == 2


@dataclass(frozen=True)
class _Operation:
    """How the gradients by a shared argument are had of an operation.

    rows: of its settings, of what it has saved of the examples, and of the gradient of its output.
    saved: names of what it has saved of the examples.
    fits: whether it is one that is understood, and the examples are where they have to be in its output.
    settings: what else is to be known of the node.
    others: names of saved tensors among that.
    """

    rows: Rows
    saved: tuple[str, ...] = ()
    fits: Callable[[Any, Layout, int], bool] = _first
    settings: Callable[[Any], Any] = _no_settings
    others: tuple[str, ...] = ()

    def is_ready(self, node: Any, layout: Layout, examples: int) -> bool:
        """Whether what the node has saved is there still, and the operation and the layout are as they have to be."""
        kept = (is_kept(node, f"_raw_saved_{name}", name) for name in (*self.saved, *self.others))
        if not all(kept) or not self.fits(node, layout, examples):
            return False
        shapes = [tuple(value.shape) for value in self.saved_by(node)]
        return all(may_hold(shape, layout, examples) for shape in shapes)

    def saved_by(self, node: Any) -> tuple[Tensor, ...]:
        """What the node has saved of the examples."""
        found = (getattr(node, f"_saved_{name}") for name in self.saved)
        return tuple(value[0] if isinstance(value, tuple) else value for value in found)


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


def _of_kernel(node: Any) -> dict[str, Any]:
    options = ("stride", "padding", "dilation", "groups", "transposed", "output_padding")
    found = {name: getattr(node, f"_saved_{name}") for name in options}
    weight: Any = node.next_functions[1][0]
    return found | {"shape": tuple(weight._input_metadata[node.next_functions[1][1]].shape)}


def _kernel(settings: dict[str, Any], saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    return kernel_gradients(saved[0], grads, **settings)


def _over_positions(settings: object, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    """[c, k, channels, *positions] -> [c, channels]."""
    return grads.flatten(3).sum(dim=(1, 3)) if grads.dim() > 3 else grads.sum(dim=1)


def _of_batch_norm(node: Any) -> tuple[Tensor, Tensor]:
    """What is taken off each channel, and what it is multiplied by."""
    return node._saved_running_mean, (node._saved_running_var + node._saved_eps).rsqrt()


def _batch_norm_weight(settings: tuple[Tensor, Tensor], saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    mean, scale = (value.to(grads.dtype).reshape(-1, *[1] * (grads.dim() - 3)) for value in settings)
    return _over_positions(None, (), (saved[0] - mean) * scale * grads)


def _is_eval(node: Any, layout: Layout, examples: int) -> bool:
    return layout[0] == 0 and not node._saved_training


def _before_normalized(node: Any, layout: Layout, examples: int) -> bool:
    return layout[0] < len(node._input_metadata[0].shape) - _normalized_axes(node)


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


def _has_one_index(node: Any, layout: Layout, examples: int) -> bool:
    """Of w[index]: whether there is one index, of numbers, along the first axis."""
    indices = node._saved_indices
    return (
        layout[0] == 0
        and len(indices) == 1
        and indices[0] is not None
        and indices[0].dtype not in (torch.bool, torch.uint8)
    )


def _is_plain_lookup(node: Any, layout: Layout = EXAMPLES_FIRST, examples: int = 1) -> bool:
    return layout[0] == 0 and not node._saved_scale_grad_by_freq


def _table(settings: tuple[int, int], saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    """[c, *positions] and [c, *positions, *row] -> [c, rows, *row]."""
    size, padding = settings
    positions, width = saved[0][:1].numel(), math.prod(grads.shape[saved[0].dim() :])
    index = saved[0].reshape(len(grads), positions) % max(size, 1)
    given = grads.reshape(*index.shape, width)
    if padding >= 0:
        given = given * (index != padding).unsqueeze(-1)
    first = torch.arange(len(grads), device=index.device).unsqueeze(1) * size
    found = given.new_zeros(len(grads) * size, given.shape[2])
    return found.index_add_(0, (index + first).flatten(), given.flatten(0, 1)).reshape(len(grads), size, width)


def _repeats(node: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(node._saved_self_sym_sizes), tuple(node._saved_repeats)


def _is_repeated_for_examples(node: Any, layout: Layout, examples: int) -> bool:
    """Whether each example gets the whole, and along no other axis more than one entry is repeated."""
    (sizes, repeats), (axis, outer) = _repeats(node), layout
    if axis != 0 or len(sizes) != len(repeats):
        return False
    if any(1 not in pair for pair in zip(sizes[1:], repeats[1:], strict=True)):
        return False
    return sizes[0] == 1 or (outer == 1 and repeats[0] % examples == 0)


def _repeated(settings: tuple[tuple[int, ...], tuple[int, ...]], saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    sizes, repeats = settings
    spread = [2 + place for place, count in enumerate(repeats[1:]) if count != 1]
    given = grads.sum(dim=spread, keepdim=True) if spread else grads
    copies = given.shape[1] // max(sizes[0], 1)
    return given.reshape(len(grads), copies, *sizes).sum(dim=1)


def _is_bilinear(node: Any, layout: Layout, examples: int) -> bool:
    return layout[0] == 0 and is_bilinear(node)


_OF_BATCH_NORM = ("running_mean", "running_var")
_OF_NORM = ("input", "result1", "result2")
_OPERATIONS: dict[tuple[str, int], _Operation] = {
    ("MmBackward0", 0): _Operation(_left_of_matrices, ("mat2",), _second, _factor),
    ("MmBackward0", 1): _Operation(_right_of_matrices, ("self",), _first, _factor),
    ("AddmmBackward0", 1): _Operation(_left_of_matrices, ("mat2",), _second, _factor),
    ("AddmmBackward0", 2): _Operation(_right_of_matrices, ("mat1",), _first, _factor),
    ("BmmBackward0", 0): _Operation(_left_of_batched, ("mat2",), _third, _factor),
    ("BmmBackward0", 1): _Operation(_right_of_batched, ("self",), _second, _factor),
    ("BaddbmmBackward0", 1): _Operation(_left_of_batched, ("batch2",), _third, _factor),
    ("BaddbmmBackward0", 2): _Operation(_right_of_batched, ("batch1",), _second, _factor),
    ("MvBackward0", 1): _Operation(_vector, ("self",)),
    ("TrilinearBackward0", 1): _Operation(_bilinear, ("i1", "i3"), _is_bilinear),
    ("EmbeddingBackward0", 0): _Operation(_table, ("indices",), _is_plain_lookup, _of_table),
    ("IndexBackward0", 0): _Operation(_table, ("indices",), _has_one_index, _of_table),
    ("RepeatBackward0", 0): _Operation(_repeated, (), _is_repeated_for_examples, _repeats),
    ("ConvolutionBackward0", 1): _Operation(_kernel, ("input",), _first, _of_kernel),
    ("ConvolutionBackward0", 2): _Operation(_over_positions),
    ("NativeBatchNormBackward0", 1): _Operation(
        _batch_norm_weight, ("input",), _is_eval, _of_batch_norm, _OF_BATCH_NORM
    ),
    ("NativeBatchNormBackward0", 2): _Operation(_over_positions, (), _is_eval),
    ("NativeLayerNormBackward0", 1): _Operation(_layer_norm_weight, _OF_NORM, _before_normalized, _normalized_axes),
    ("NativeLayerNormBackward0", 2): _Operation(_over_others, (), _before_normalized, _normalized_axes),
    ("NativeGroupNormBackward0", 1): _Operation(_group_norm_weight, _OF_NORM, _first, _groups),
    ("NativeGroupNormBackward0", 2): _Operation(_over_positions),
}
