"""Which layers do their calls account for? Decided between the forward and the backward pass of every batch."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from torch.autograd.graph import Node

from mcoherence.gradients.graph import GraphCut, parameters_outside_calls
from mcoherence.gradients.layers import Layer


def unaccounted(
    layers: Sequence[Layer], root: Node, examples: int, routed: AbstractSet[str]
) -> tuple[set[Layer], set[Node]]:
    """The layers that took part in a batch otherwise than by one call, and the nodes that the batch's gradient reaches.

    Args:
        layers: with the calls of the forward pass.
        root: the node of the batch's losses.
        examples: number of examples of the batch.
        routed: names of the parameters whose gradient is not to be had from calls, whatever this batch shows.
    """
    otherwise = {layer for layer in layers if layer.calls and not _is_one_call(layer, examples, routed)}
    cuts = [
        GraphCut(
            layer.call.output_node,
            layer.call.argument.node,
            frozenset(map(id, layer.parameters.values())),
            layer.rule is None,
        )
        for layer in layers
        if layer.call is not None and layer not in otherwise
    ]
    outside, reached = parameters_outside_calls(root, cuts)
    otherwise |= {layer for layer in layers if any(id(p) in outside for p in layer.parameters.values())}
    return otherwise, reached


def _is_one_call(layer: Layer, examples: int, routed: AbstractSet[str]) -> bool:
    """Whether the layer was called once, one tensor to one tensor, examples first, and nothing of it is routed."""
    if layer.calls != 1 or layer.call is None or any(layer.qualified(name) in routed for name in layer.parameters):
        return False
    tensor = layer.call.argument.tensor
    return tensor.dim() > 0 and len(tensor) == examples
