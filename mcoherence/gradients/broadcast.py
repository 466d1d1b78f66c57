"""Bare parameters that one operation spreads over the examples: class tokens, position embeddings, layer scale.

Index letters: n examples.

Such a parameter belongs to no layer that a hook could watch, but autograd's graph shows the operation at which it meets
the examples. The gradient that arrives there still has one row per example; autograd goes on to sum them. The rows are
taken just before that, and cost next to nothing.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.autograd.graph import Node

from mcoherence.gradients.layer_rules.products import Rows, at_least_float32, squared_norms

# What changes the shape of a tensor and keeps its elements in their order.
_RESHAPING = {"UnsqueezeBackward0", "SqueezeBackward0", "SqueezeBackward1", "ViewBackward0", "UnsafeViewBackward0"}

# (node, which of its arguments) -> the factor by which an output gradient is multiplied on its way to the argument
_FACTORS: dict[tuple[str, int], Callable[[Any], Any]] = {
    ("ExpandBackward0", 0): lambda node: 1,
    ("AddBackward0", 0): lambda node: 1,
    ("AddBackward0", 1): lambda node: node._saved_alpha,
    ("SubBackward0", 0): lambda node: 1,
    ("SubBackward0", 1): lambda node: -node._saved_alpha,
    ("MulBackward0", 0): lambda node: node._saved_other,
    ("MulBackward0", 1): lambda node: node._saved_self,
}


class BareParameters:
    """The rows of parameters that belong to no layer, taken where they meet the examples.

    rows: {parameter name: Rows} of the batch at hand, once its backward pass has come by.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self.rows: dict[str, Rows] = {}
        self._parameters = parameters

    def forget(self) -> None:
        """Drop what was seen of the batch before."""
        self.rows = {}

    def watch(self, root: Node, examples: int, routed: AbstractSet[str]) -> set[str]:
        """Take the rows in the backward pass to come from `root`, the node of the losses of so many examples.

        Args:
            root: the node of the losses.
            examples: their number.
            routed: names of parameters to leave alone.

        Returns:
            The names of the parameters whose rows will not be seen: several uses, or one that is not understood.
        """
        watched = {name: p for name, p in self._parameters.items() if name not in routed}
        if not watched:
            return set()
        unseen = set()
        for name, spreading in spreadings(root, watched, examples).items():
            try:
                factor = 1 if spreading is None else spreading.factor()
            except RuntimeError:  # what the operation saved has been written to since
                spreading = None
            if spreading is None:
                unseen.add(name)
            else:
                spreading.node.register_prehook(self._hook(name, spreading, factor))
        return unseen

    def _hook(self, name: str, spreading: "Spreading", factor: Any) -> Any:
        def hook(output_grads: tuple[Tensor | None, ...]) -> None:
            if output_grads[0] is not None:
                rows = spreading.rows(at_least_float32(output_grads[0].detach()), factor)
                total = rows.sum(dim=0).reshape(self._parameters[name].shape)
                self.rows[name] = Rows(squared_norms(rows), total)

        return hook


@dataclass(frozen=True)
class Spreading:
    """The operation that spreads a parameter over n examples.

    node: its node in the graph.
    argument: which of its arguments the parameter is.
    shape: of the parameter as it enters, one for each axis of the output; the axis of the examples comes first.
    """

    node: Node
    argument: int
    shape: tuple[int, ...]

    def factor(self) -> Any:
        """What an output gradient is multiplied by on its way to the parameter: a number or a tensor."""
        return _FACTORS[self.node.name(), self.argument](self.node)

    def rows(self, output_grads: Tensor, factor: Any) -> Tensor:
        """Per-example gradients [n, elements of the parameter] from the gradient [n, ...] of the operation's output."""
        rows: Tensor = output_grads * factor
        spread = [axis for axis in range(1, rows.dim()) if self.shape[axis] == 1 and rows.shape[axis] != 1]
        return (rows.sum(dim=spread) if spread else rows).reshape(len(rows), -1)


def spreadings(root: Node, parameters: Mapping[str, Tensor], examples: int) -> dict[str, Spreading | None]:
    """By name, the operation that spreads each of the `parameters` that `root` depends on over the examples.

    None where there are several uses, another operation, or an output whose first axis is not as long as `examples`.
    """
    users = _users(root)
    leaves = {id(getattr(node, "variable", None)): node for node in users}
    found = {}
    for name, p in parameters.items():
        if id(p) in leaves:
            found[name] = _spreading(users, leaves[id(p)], tuple(p.shape), examples)
    return found


def _spreading(
    users: Mapping[Node, list[tuple[Node, int]]], node: Node, shape: tuple[int, ...], examples: int
) -> Spreading | None:
    while len(users[node]) == 1:
        user, argument = users[node][0]
        output = tuple(user._input_metadata[0].shape)
        if user.name() in _RESHAPING:
            node, shape = user, output
            continue
        padded = (1,) * (len(output) - len(shape)) + shape
        by_example = bool(output) and output[0] == examples and padded[0] == 1
        known = (user.name(), argument) in _FACTORS and not user._input_metadata[0].dtype.is_complex
        return Spreading(user, argument, padded) if by_example and known else None
    return None


def _users(root: Node) -> dict[Node, list[tuple[Node, int]]]:
    """For every node below `root`, the nodes that take its output, and as which argument."""
    users: dict[Node, list[tuple[Node, int]]] = {root: []}
    stack = [root]
    while stack:
        node = stack.pop()
        for argument, (following, _) in enumerate(node.next_functions):
            if following is None:
                continue
            if following not in users:
                users[following] = []
                stack.append(following)
            users[following].append((node, argument))
    return users
