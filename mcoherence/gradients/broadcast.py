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

from mcoherence.gradients.directions import Directions, contracted
from mcoherence.gradients.graph import Users, users_below
from mcoherence.gradients.layer_rules.products import Rows, at_least_float32, sure_squared_norms
from mcoherence.gradients.probe import lengths

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
    products: {parameter name: float64 [D, n]} in place of the rows, where there are directions.
    lengths: {parameter name: of the rows of the gradient there}, and of those of weighted losses (`probe`).
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self.rows: dict[str, Rows] = {}
        self.products: dict[str, Tensor] = {}
        self.lengths: dict[str, list[Tensor]] = {}
        self.probing = False
        self._parameters = parameters

    def forget(self) -> None:
        """Drop what was seen of the batch before."""
        self.rows, self.products, self.lengths, self.probing = {}, {}, {}, False

    def spreadings(
        self, root: Node, examples: int, routed: AbstractSet[str]
    ) -> tuple[dict[str, "Spreading"], set[str]]:
        """Where the parameters meet so many examples in the graph below `root`.

        Args:
            root: the node of the losses.
            examples: their number.
            routed: names of parameters to leave alone.

        Returns:
            {name: the operation}, and the names of those that do not: several uses, or one that is not understood.
        """
        watched = {name: p for name, p in self._parameters.items() if name not in routed}
        if not watched:
            return {}, set()
        found, unseen = {}, set()
        for name, spreading in spreadings(root, watched, examples).items():
            if spreading is None or not spreading.has_factor():
                unseen.add(name)
            else:
                found[name] = spreading
        return found, unseen

    def watch(
        self, found: Mapping[str, "Spreading"], directions: Directions | None, kept: dict[str, Tensor] | None
    ) -> None:
        """Take the rows there in the backward pass to come, or their products with directions where these are given.

        The rows are put into `kept` besides, if there is such a place. While `probing`, the lengths of the rows of
        another backward pass are taken too.
        """
        for name, spreading in found.items():
            spreading.node.register_prehook(self._hook(name, spreading, spreading.factor(), directions, kept))

    def _hook(
        self,
        name: str,
        spreading: "Spreading",
        factor: Any,
        directions: Directions | None,
        kept: dict[str, Tensor] | None,
    ) -> Any:
        def hook(output_grads: tuple[Tensor | None, ...]) -> None:
            if output_grads[0] is None:
                return
            if self.probing:
                self.lengths.setdefault(name, []).append(lengths(output_grads[0]))
            if directions is not None:
                if name not in self.products and name in directions.tensors:
                    rows = spreading.rows(at_least_float32(output_grads[0].detach()), factor)
                    self.products[name] = contracted(rows, directions.tensors[name])
            elif name not in self.rows:
                rows = spreading.rows(at_least_float32(output_grads[0].detach()), factor)
                total = rows.sum(dim=0).reshape(self._parameters[name].shape)
                self.rows[name] = Rows(sure_squared_norms(rows), total)
                if kept is not None:
                    kept[name] = rows

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

    def has_factor(self) -> bool:
        """Whether the factor is there still: what the operation saved may have been written to since."""
        try:
            self.factor()
        except RuntimeError:
            return False
        return True

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
    users = users_below([root], {})
    leaves = {id(getattr(node, "variable", None)): node for node in users}
    found = {}
    for name, p in parameters.items():
        if id(p) in leaves:
            found[name] = _spreading(users, leaves[id(p)], tuple(p.shape), examples)
    return found


def _spreading(users: Users, node: Node, shape: tuple[int, ...], examples: int) -> Spreading | None:
    while len(users[node]) == 1:
        user, argument = users[node][0]
        assert argument is not None  # there are no bridges in this walk
        output = tuple(user._input_metadata[0].shape)
        if user.name() in _RESHAPING:
            node, shape = user, output
            continue
        padded = (1,) * (len(output) - len(shape)) + shape
        by_example = bool(output) and output[0] == examples and padded[0] == 1
        known = (user.name(), argument) in _FACTORS and not user._input_metadata[0].dtype.is_complex
        return Spreading(user, argument, padded) if by_example and known else None
    return None
