"""Where tensors that all examples share meet the examples, and the examples' gradients by such a tensor.

Index letters: n examples, c examples of a chunk, k entries of an example along the axis of the examples.

A parameter may reach the examples through a function of several parameters: a weight norm, a low-rank update, a
network that makes positions. Whatever the function is, all examples share what comes out of it, W. So the gradient of
an example by the parameters is what the function's backward pass makes of the example's gradient by W; and that is
known where W meets the examples, from the gradient that arrives there and from what the operation has saved.
`alignment` tells which tensors are shared. An `Entry` is one operation in which one of them meets the examples.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from mcoherence.gradients.graph.layout import EXAMPLES_FIRST, SHARED, Layout, Shape, by_example, may_hold
from mcoherence.gradients.graph.operations import OPERATIONS
from mcoherence.gradients.graph.uses import SPREADING, Spread
from mcoherence.gradients.graph.walk import Users, makes_view


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
        known = OPERATIONS.get((self.node.name(), self.argument))
        return known is not None and known.is_ready(self.node, self.layout, examples)

    def arrived(self, output_grads: Tensor, examples: int, wide: Callable[[Tensor], Tensor]) -> "Arrived":
        """What is to be known of the gradient of the operation's output, while its node has what it saved."""
        if (spread := self._spread) is not None:
            return Arrived(self.shape, spread.rows(wide(output_grads), self.layout, examples), (), None)
        node, known = self.node, OPERATIONS[self.node.name(), self.argument]
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
        return tuple(found.values()) if found else None

    def are_fixed(self, leaf: Node) -> bool:
        """Whether all that is computed of a parameter until it meets the examples is known to hang on none of them.

        Here they may meet in an operation that is not understood, such as somebody's own.
        """
        stack, met = [leaf], {leaf}
        while stack:
            for user, argument in self._users[stack.pop()]:
                if argument is None or self._layouts.get(user) not in (None, SHARED) or user in met:
                    continue
                if not self._is_fixed(user):
                    return False
                met.add(user)
                stack.append(user)
        return True

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
