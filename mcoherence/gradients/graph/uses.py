"""The uses of a parameter as autograd's graph shows them: where no single call of a module accounts for its gradient.

Index letters: n examples, t positions, d and p the two axes of a matrix.

The weights of attention and of recurrent layers are used by no call that a hook could watch; a head may share its
weight with an embedding, and a layer may be called several times. But the graph has a node for every use, and the
gradient that arrives there still has its rows by example (`alignment`); autograd goes on to sum over them. Three kinds
of use are understood:

- `Spread`: the parameter is added to the examples or multiplied with them: class tokens, position embeddings, layer
  scale, biases. The gradient's rows by example are formed.
- `Product`: a matrix product of rows with the parameter. The gradient of an example is sum_t a_t b_t^T.
- `Lookup`: rows of the parameter chosen by index. It is the same with a one at the index in place of a_t.

Products and lookups of one parameter add up before they are squared, be they steps of a recurrent layer, several calls
of a layer, or embedding and head: for E of a lookup and H of a product |H + E|^2 = |H|^2 + |E|^2 + 2 H.E, and for H.E
only the rows of H that the example looks up are formed. A parameter with any other use, or of which a function is
used, is tried by its `entries`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from mcoherence.gradients.graph.layout import Layout, by_example
from mcoherence.gradients.graph.walk import Users

# What changes the shape of a tensor and keeps its elements in their order.
_RESHAPING = {
    *("UnsqueezeBackward0", "SqueezeBackward0", "SqueezeBackward1", "ViewBackward0", "UnsafeViewBackward0"),
    *("AliasBackward0", "ToCopyBackward0"),
}

# (node, gradient of its output) -> what the elements of an argument that is spread are multiplied with
Weighing = Callable[[Any, Tensor], Tensor]


def _as_it_is(node: Any, grads: Tensor) -> Tensor:
    return grads


def _times_alpha(node: Any, grads: Tensor) -> Tensor:
    return grads if node._saved_alpha == 1 else grads * node._saved_alpha


def _times_beta(node: Any, grads: Tensor) -> Tensor:
    return grads if node._saved_beta == 1 else grads * node._saved_beta


def _by_divisor(node: Any, grads: Tensor) -> Tensor:
    # In this order nothing leaves the range that does not in autograd either.
    found: Tensor = grads * (node._saved_self.to(grads.dtype) / node._saved_other) / node._saved_other
    return -found


def _where_negative(node: Any, grads: Tensor) -> Tensor:
    found: Tensor = (grads * node._saved_self).masked_fill(node._saved_self > 0, 0.0)
    return found


# (node, which of its arguments): how an output gradient comes to the argument, and what the node has saved for that
SPREADING: dict[tuple[str, int], tuple[Weighing, tuple[str, ...]]] = {
    ("ExpandBackward0", 0): (_as_it_is, ()),
    ("AddBackward0", 0): (_as_it_is, ()),
    ("AddBackward0", 1): (_times_alpha, ()),
    ("AddmmBackward0", 0): (_times_beta, ()),
    ("BaddbmmBackward0", 0): (_times_beta, ()),
    ("SubBackward0", 0): (_as_it_is, ()),
    ("SubBackward0", 1): (lambda node, grads: -_times_alpha(node, grads), ()),
    ("MulBackward0", 0): (lambda node, grads: grads * node._saved_other, ("other",)),
    ("MulBackward0", 1): (lambda node, grads: grads * node._saved_self, ("self",)),
    ("DivBackward0", 0): (lambda node, grads: grads / node._saved_other, ("other",)),
    ("DivBackward0", 1): (_by_divisor, ("self", "other")),
    ("PreluKernelBackward0", 1): (_where_negative, ("self",)),
    ("WhereBackward0", 0): (lambda node, grads: grads.masked_fill(~node._saved_condition, 0.0), ("condition",)),
    ("WhereBackward0", 1): (lambda node, grads: grads.masked_fill(node._saved_condition, 0.0), ("condition",)),
}
# (node, which of its arguments is the matrix) -> what the node has saved of the rows
_PRODUCTS = {("MmBackward0", 1): "self", ("AddmmBackward0", 2): "mat1"}
_MOST_USES = 4096


@dataclass(frozen=True)
class Spread:
    """An operation that spreads a tensor over the examples.

    node: its node in the graph.
    argument: which of its arguments the tensor is.
    shape: of the tensor, one for each axis of the output.
    """

    node: Node
    argument: int
    shape: tuple[int, ...]

    def is_kept(self) -> bool:
        """Whether what the gradient is multiplied with is there still: it may have been written to since."""
        _, saved = SPREADING[self.node.name(), self.argument]
        return all(is_kept(self.node, f"_raw_saved_{name}", name) for name in saved)

    def kind(self) -> object:
        """What uses that are taken together have in common."""
        return Spread, self.shape

    def is_plain(self) -> bool:
        """Whether a gradient comes to the tensor as it is, but for its sum."""
        weighing, _ = SPREADING[self.node.name(), self.argument]
        node: Any = self.node
        if weighing is _times_alpha:
            return bool(node._saved_alpha == 1)
        return weighing is _as_it_is or (weighing is _times_beta and bool(node._saved_beta == 1))

    def fits(self, layout: Layout) -> bool:
        """Whether the examples are where the tensor is spread, and it is along no other axis in part."""
        output = tuple(self.node._input_metadata[0].shape)
        spread = len(self.shape) == len(output) and all(
            one in (1, other) for one, other in zip(self.shape, output, strict=True)
        )
        return spread and self.shape[layout[0]] == 1

    def rows(self, output_grads: Tensor, layout: Layout, examples: int) -> Tensor:
        """Gradients [n, elements] by the tensor, from the gradient of the operation's output."""
        weighing, _ = SPREADING[self.node.name(), self.argument]
        rows: Tensor = by_example(weighing(self.node, output_grads), layout, examples)
        others = self.shape[: layout[0]] + self.shape[layout[0] + 1 :]
        spread = [2 + place for place, size in enumerate(others) if size == 1 and rows.shape[2 + place] != 1]
        if rows.shape[1] != 1:
            spread.append(1)
        return (rows.sum(dim=spread) if spread else rows).reshape(examples, -1)


_INDICES = "_raw_saved_indices"


@dataclass(frozen=True)
class Product:
    """A product of rows with the parameter as a matrix.

    turned: whether the parameter was transposed before, as nn.Linear does.
    shape: of the parameter, as a matrix.
    """

    node: Node
    turned: bool
    shape: tuple[int, ...]

    def kind(self) -> object:
        """What uses that are taken together have in common."""
        return Product, self.turned, self.shape

    def is_kept(self) -> bool:
        """Whether the rows are there still."""
        name = _PRODUCTS[self.node.name(), 1 if self.node.name() == "MmBackward0" else 2]
        return is_kept(self.node, f"_raw_saved_{name}", name)

    def fits(self, layout: Layout) -> bool:
        """Whether the examples are in the rows."""
        return layout[0] == 0

    def saved(self) -> Tensor:
        """The rows that are multiplied with the parameter."""
        node: Any = self.node
        saved: Tensor = node._saved_self if node.name() == "MmBackward0" else node._saved_mat1
        return saved.detach()

    def factors(self, output_grads: Tensor, saved: Tensor, layout: Layout, examples: int) -> tuple[Tensor, Tensor]:
        """(left, right), [n, t, p] and [n, t, d], of which the parameter's gradient [p, d] is the sum of products."""
        return self.ordered(by_example(saved, layout, examples), by_example(output_grads, layout, examples))

    def ordered(self, rows: Tensor, grads: Tensor) -> tuple[Tensor, Tensor]:
        """Which of rows [n, t, *] and gradients [n, t, *] goes with the parameter's first axis, and which the last."""
        return (grads, rows) if self.turned else (rows, grads)


@dataclass(frozen=True)
class Lookup:
    """Rows of the parameter that are chosen by index, as nn.Embedding does.

    shape: of the parameter, as a matrix.
    """

    node: Node
    shape: tuple[int, ...]

    def kind(self) -> object:
        """What uses that are taken together have in common."""
        return Lookup, self.shape

    def is_kept(self) -> bool:
        """Whether the indices are there still, and nothing is done to a gradient but to add it up."""
        node: Any = self.node
        return not node._saved_scale_grad_by_freq and is_kept(self.node, _INDICES, "indices")

    def fits(self, layout: Layout) -> bool:
        """Whether the examples are along the indices."""
        return layout[0] < len(self.node._input_metadata[0].shape) - 1

    def index(self, layout: Layout, examples: int) -> Tensor:
        """Int64 [n, t]."""
        node: Any = self.node
        index: Tensor = by_example(node._saved_indices, layout, examples).reshape(examples, -1).to(torch.int64)
        return index

    def grads(self, output_grads: Tensor, layout: Layout, examples: int) -> Tensor:
        """[n, t, d], 0 where the index is that of padding, which has no gradient."""
        node: Any = self.node
        grads: Tensor = by_example(output_grads, layout, examples).reshape(examples, -1, output_grads.shape[-1])
        if -1 < node._saved_padding_idx < node._saved_weight_sym_argsize_0:
            grads = grads * (self.index(layout, examples) != node._saved_padding_idx).unsqueeze(-1)
        return grads


@dataclass(frozen=True)
class BagLookup(Lookup):
    """Rows of the parameter that are chosen by index and added up over bags of them, as nn.EmbeddingBag does."""

    def is_kept(self) -> bool:
        """As of a lookup; the largest of the rows in a bag is no sum."""
        node: Any = self.node
        kept = all(
            is_kept(self.node, f"_raw_saved_{name}", name) for name in ("indices", "offsets", "per_sample_weights")
        )
        return kept and node._saved_mode != _LARGEST and not node._saved_scale_grad_by_freq

    def fits(self, layout: Layout) -> bool:
        """Whether the examples are along the bags."""
        return layout[0] == 0

    def index(self, layout: Layout, examples: int) -> Tensor:
        """Int64 [n, t], filled up with zeros where a bag has fewer than t."""
        index: Tensor = by_example(self._bags()[0], layout, examples).reshape(examples, -1)
        return index

    def grads(self, output_grads: Tensor, layout: Layout, examples: int) -> Tensor:
        """[n, t, d], 0 where there is no row."""
        given = output_grads.unsqueeze(1) * self._bags()[1].to(output_grads.dtype).unsqueeze(2)
        grads: Tensor = by_example(given, layout, examples).reshape(examples, -1, output_grads.shape[-1])
        return grads

    def _bags(self) -> tuple[Tensor, Tensor]:
        """Which rows are in each bag, int64 [bags, t], and what each is multiplied by, [bags, t]."""
        node: Any = self.node
        index, bags = node._saved_indices, self.node._input_metadata[0].shape[0]
        starts = node._saved_offsets[:bags]
        sizes = torch.cat([starts[1:], starts.new_tensor([len(index)])]) - starts
        bag = torch.repeat_interleave(sizes, output_size=len(index))
        place = torch.arange(len(index), device=index.device) - starts[bag]
        weights = node._saved_per_sample_weights
        weights = (
            torch.ones(len(index), device=index.device, dtype=torch.float64) if weights is None else weights.detach()
        )
        weights = weights * (index != node._saved_padding_idx) if self._pads() else weights
        longest = int(sizes.max()) if bags else 0
        chosen, given = index.new_zeros(bags, longest, dtype=torch.int64), weights.new_zeros(bags, longest)
        chosen[bag, place], given[bag, place] = index.to(torch.int64), weights
        return chosen, given / (given != 0).sum(dim=1, keepdim=True).clamp_min(
            1
        ) if node._saved_mode == _MEAN else given

    def _pads(self) -> bool:
        node: Any = self.node
        return bool(node._saved_padding_idx < node._saved_weight_sym_argsize_0)


_MEAN, _LARGEST = 1, 2  # modes of nn.EmbeddingBag

Use = Spread | Product | Lookup


def uses_of(users: Users, leaf: Node, shape: tuple[int, ...]) -> tuple[Use, ...] | None:
    """All uses of a parameter in the graph; None where one is not understood, or they do not go together.

    Args:
        users: the graph.
        leaf: the parameter's node.
        shape: of the parameter.
    """
    found: list[Use] = []
    for use in _found_uses(users, leaf, shape):
        if use is None or len(found) == _MOST_USES or not use.is_kept():
            return None
        found.append(use)
    # The gradients of products and lookups add up as matrices, which views of the parameter may have others of.
    kinds = {None if isinstance(use, Spread) else use.shape for use in found}
    return tuple(found) if len(kinds) == 1 else None


@dataclass(frozen=True)
class _Place:
    """The parameter in the graph, in this shape or another: its node, which of its outputs, and its shape.

    in_order: whether it has its elements in their order, and is not a transposed matrix.
    turned: whether it is the parameter's matrix transposed; None if it is no such matrix.
    """

    node: Node
    output: int
    shape: tuple[int, ...]
    in_order: bool = True
    turned: bool | None = False


def _found_uses(users: Users, leaf: Node, shape: tuple[int, ...]) -> Iterator[Use | None]:
    places = [_Place(leaf, 0, shape)]
    while places:
        place = places.pop()
        for user, argument in users[place.node]:
            if argument == 0 and user.name() == "TBackward0" and len(place.shape) == 2:  # in every step of a recurrence
                places.append(_turned(place, user, place.shape[::-1]))
                continue
            if argument is None or user.next_functions[argument][1] != place.output:
                if argument is None:
                    yield None
                continue
            found = _use(users, place, user, argument)
            if isinstance(found, _Place):
                places.append(found)
            else:
                yield found


def _turned(place: _Place, node: Node, shape: tuple[int, ...]) -> _Place:
    return _Place(node, 0, shape, False, None if place.turned is None else not place.turned)


def _use(users: Users, place: _Place, user: Any, argument: int) -> Use | _Place | None:
    """What a user of a place is: a use, the parameter in another shape, or something else (None)."""
    name, shapes = user.name(), [tuple(one.shape) for one in user._input_metadata]
    if any(one.dtype.is_complex for one in user._input_metadata):
        return None
    if (name, argument) in _PRODUCTS and place.turned is not None and len(place.shape) == 2:
        shape = place.shape[::-1] if place.turned else place.shape
        return Product(user, place.turned, shape) if name == "MmBackward0" or user._saved_alpha == 1 else None
    if (name, argument) in SPREADING:
        padded = (1,) * (len(shapes[0]) - len(place.shape)) + place.shape
        alone = sum(following is not None for following, _ in user.next_functions) == 1
        return Spread(user, argument, padded) if place.in_order and (padded != shapes[0] or not alone) else None
    if name == "EmbeddingBackward0" and place.in_order and place.turned is False and not _is_spread(users, user):
        return Lookup(user, place.shape)
    if name == "EmbeddingBagBackward0" and argument == 0 and place.in_order and place.turned is False:
        return BagLookup(user, place.shape)
    if name in _RESHAPING and len(shapes) == 1:
        same = place.turned if shapes[0] == place.shape else False if place.turned is False else None
        return _Place(user, 0, shapes[0], place.in_order, same)
    return _turned(place, user, shapes[0]) if len(place.shape) == 2 and _swaps(user, name) else None


def _swaps(node: Any, name: str) -> bool:
    """Whether a node transposes a matrix; axes below 0 are told without their sign, but are even or odd as ever."""
    if name == "TransposeBackward0":
        return bool(node._saved_dim0 % 2 != node._saved_dim1 % 2)
    return name == "TBackward0" or (name == "PermuteBackward0" and node._saved_dims[0] % 2 == 1)


def _is_spread(users: Users, node: Node) -> bool:
    """Whether what is looked up goes on to be spread over the examples, as positions are."""
    shape = tuple(node._input_metadata[0].shape)
    while users[node]:
        user, argument = users[node][0]
        output = tuple(user._input_metadata[0].shape)
        if argument is not None and (user.name(), argument) in SPREADING:
            padded = (1,) * (len(output) - len(shape)) + shape
            # Along the last axis statistics of an example are spread over its own values.
            if any(one == 1 and other != 1 for one, other in zip(padded[:-1], output[:-1], strict=True)):
                return True
        if sum(following is not None for following, _ in user.next_functions) != 1:
            return False
        node, shape = user, output
    return False


def is_kept(node: Any, raw: str, name: str) -> bool:
    """Whether what a node saved is as it was, and may be looked at: hooks, those of checkpoints, give it once only.

    Sparse tensors have no rows that could be told apart here.
    """
    saved = getattr(node, raw)
    if any(getattr(one, "unpack_hook", one) is not None for one in (saved if isinstance(saved, tuple) else (saved,))):
        return False
    try:
        kept = getattr(node, raw.replace("_raw", ""))
    except RuntimeError:
        return False
    return not isinstance(kept, Tensor) or kept.layout == torch.strided
