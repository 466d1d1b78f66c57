"""Which parameters does a loss depend on other than through the calls that were seen of their own modules?

A rule measures one call of one module. It gives the whole gradient of a parameter only if every path from the loss to
that parameter passes through that call. Functional use of another module's weight, a second output of a call, or a
cached tensor break this without a trace in any hook, but not without a trace in autograd's graph.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node


class Users(dict[Node, list[tuple[Node, int | None]]]):
    """For every node below a start, the nodes that take its output, and as which argument; None across a call.

    variables: the leaves among the nodes, with their tensors. To ask every node for one takes longer than to walk.
    """

    def __init__(self, start: Iterable[Node]) -> None:
        super().__init__((node, []) for node in start)
        self.variables: dict[Node, Tensor] = {}


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

    @property
    def end(self) -> dict[Node, Node | None]:
        """A bridge that ends a walk at the input of the call."""
        return {self.input_node: None} if self.input_node else {}


def parameters_outside_calls(root: Node, cuts: Iterable[GraphCut]) -> tuple[set[int], Users]:
    """Ids of the leaves that the gradient of `root` reaches past the calls that own them, and the nodes it reaches.

    An opaque call that reaches any leaf but its own past its input counts as seeing more than its input: its own
    parameters are then returned too.
    """
    by_output = {cut.output_node: cut for cut in cuts}
    reached = users_below([root], {node: cut.input_node for node, cut in by_output.items()})
    outside = _ids_of_leaves(reached)
    for cut in by_output.values():
        if cut.opaque:
            below = users_below([following for following, _ in cut.output_node.next_functions], cut.end)
            inside = _ids_of_leaves(below)
            if inside - cut.own:
                outside |= inside | cut.own
    return outside, reached


def users_below(start: Iterable[Node | None], bridges: Mapping[Node, Node | None]) -> Users:
    """The nodes below `start`, itself included, with their users; a walk goes on from a bridge's node as told there."""
    stack = [node for node in start if node is not None]
    users = Users(stack)
    while stack:
        node = stack.pop()
        across = node in bridges
        following_nodes = ((bridges[node], 0),) if across else node.next_functions
        if (across or not following_nodes) and (variable := getattr(node, "variable", None)) is not None:
            users.variables[node] = variable
        for argument, (following, _) in enumerate(following_nodes):
            if following is None:
                continue
            use = node, None if across else argument
            known = users.get(following)
            if known is None:
                users[following] = [use]
                stack.append(following)
            else:
                known.append(use)
    return users


def above(nodes: Iterable[Node], users: Users) -> set[Node]:
    """The nodes strictly above `nodes`, which their gradient has come through."""
    stack = [node for node in nodes if node in users]
    found: set[Node] = set()
    while stack:
        for user, _ in users[stack.pop()]:
            if user not in found:
                found.add(user)
                stack.append(user)
    return found


def users_first(nodes: Iterable[Node], users: Users) -> Iterable[Node]:
    """The nodes and all above them, each after its users."""
    order: dict[Node, None] = {}
    begun: set[Node] = set()
    stack = [node for node in nodes if node in users]
    while stack:
        node = stack[-1]
        if node in begun:
            order[stack.pop()] = None
        else:
            begun.add(node)
            stack += [user for user, _ in users[node] if user not in begun]
    return order


@dataclass(frozen=True)
class Made:
    """What a pass makes.

    numbers: how many; infinite where that is not known.
    operations: that make some.
    """

    numbers: float
    operations: int


def made_at(nodes: Iterable[Node]) -> Made:
    """What the operations of these nodes make. Leaves are no operations, and views make none."""
    making: list[Any] = [node for node in nodes if node.next_functions and not makes_view(node.name())]
    return Made(sum(math.prod(output.shape) for node in making for output in node._input_metadata), len(making))


@cache
def makes_view(name: str) -> bool:
    """Whether a node of this name gives a view of its argument."""
    return _VIEW.fullmatch(name) is not None


_VIEW = re.compile(
    "(View|UnsafeView|ReshapeAlias|Unsqueeze|Squeeze|Alias|Transpose|T|Permute|Expand|Select|Slice|Split|"
    r"SplitWithSizes|Unbind|AsStrided|Diagonal|Unfold|Detach)Backward\d+"
)


def leaves_of(users: Users, parameters: Mapping[str, Tensor]) -> dict[str, Node]:
    """{name: node} of those of the parameters that are in the graph."""
    nodes = {id(variable): node for node, variable in users.variables.items()}
    return {name: nodes[id(p)] for name, p in parameters.items() if id(p) in nodes}


def _ids_of_leaves(users: Users) -> set[int]:
    return set(map(id, users.variables.values()))


def has_own_function(users: Users) -> bool:
    """Whether a function of a user's own (`torch.autograd.Function`) is among the nodes."""
    kinds: set[Any] = {type(node) for node in users}
    functions = [kind._forward_cls for kind in kinds if issubclass(kind, BackwardCFunction)]
    return any(one.__module__.partition(".")[0] != __name__.partition(".")[0] for one in functions)


def has_reentrant_checkpoint(root: Node) -> bool:
    """Whether a reentrant activation checkpoint is below `root`: weights inside of it are no leaves of the graph."""
    return any(node.name() == "CheckpointFunctionBackward" for node in users_below([root], {}))
