"""Which parameters does a loss depend on other than through the calls that were seen of their own modules?

A rule measures one call of one module. It gives the whole gradient of a parameter only if every path from the loss to
that parameter passes through that call. Functional use of another module's weight, a second output of a call, or a
cached tensor break this without a trace in any hook, but not without a trace in autograd's graph.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch.autograd.graph import Node


@dataclass(frozen=True)
class GraphCut:
    """A call in the graph: the node of its output, the node of its input (None: no gradient flows on from there).

    own: ids of the parameters that the call is known to use.
    opaque: the inside of the call may be anybody's code, and has to be looked through.
    """

    output_node: Node
    input_node: Node | None
    own: frozenset[int]
    opaque: bool


def parameters_outside_calls(root: Node, cuts: Iterable[GraphCut]) -> tuple[set[int], set[Node]]:
    """Ids of the leaves that the gradient of `root` reaches past the calls that own them, and the nodes it reaches.

    An opaque call that reaches any leaf but its own past its input counts as seeing more than its input: its own
    parameters are then returned too.
    """
    by_output = {cut.output_node: cut for cut in cuts}
    outside, reached = _below([root], {node: [cut.input_node] for node, cut in by_output.items()})
    for cut in by_output.values():
        if cut.opaque:
            inside, _ = _below(_next(cut.output_node), {cut.input_node: []} if cut.input_node else {})
            if inside - cut.own:
                outside |= inside | cut.own
    return outside, reached


def _below(start: Iterable[Node | None], bridges: Mapping[Node, list[Node | None]]) -> tuple[set[int], set[Node]]:
    """Ids of the leaf tensors, and all nodes, below `start`, going on from the nodes in `bridges` as told there."""
    stack = [node for node in start if node is not None]
    seen, leaves = set(stack), set()
    while stack:
        node = stack.pop()
        variable = getattr(node, "variable", None)
        if variable is not None:
            leaves.add(id(variable))
        for following in bridges[node] if node in bridges else _next(node):
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)
    return leaves, seen


def _next(node: Node) -> list[Node | None]:
    return [following for following, _ in node.next_functions]
