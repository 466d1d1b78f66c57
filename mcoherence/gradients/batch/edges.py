"""What autograd is asked for, besides gradients of parameters, so that a backward pass comes by all places it is to.

Places are calls of layers, and uses and entries of parameters.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from mcoherence.gradients.batch.layers import Call
from mcoherence.gradients.graph.walk import Users, above


def lowest_edges(
    calls: Sequence[Call], of_parameters: Mapping[str, Sequence[Node]], reached: Users, parameters: Mapping[str, Tensor]
) -> list[Any]:
    """What has to be asked for so that a pass comes by all of these places, and does little else.

    Args:
        calls: of layers.
        of_parameters: nodes of their uses and entries, by their names.
        reached: nodes below the losses, with their users.
        parameters: by their names.
    """
    upper = _above_others(calls, of_parameters, reached)
    lowest: list[Any] = [call.output for call in calls if call.output_node not in upper]
    return lowest + [
        parameters[name] for name, nodes in of_parameters.items() if not all(node in upper for node in nodes)
    ]


def with_none_below(
    edges: Iterable[GradientEdge], calls: Sequence[Call], of_parameters: Mapping[str, Sequence[Node]], reached: Users
) -> list[GradientEdge]:
    """Those of the edges below which there may be nothing else that autograd is asked for, once each."""
    upper = _above_others(calls, of_parameters, reached)
    return list({edge.node: edge for edge in edges if edge.node not in upper}.values())


def _above_others(calls: Sequence[Call], of_parameters: Mapping[str, Sequence[Node]], reached: Users) -> set[Node]:
    nodes = [call.output_node for call in calls] + [node for found in of_parameters.values() for node in found]
    return above(nodes, reached)
