"""Which layers do their calls account for? Decided between the forward and the backward pass of every batch."""

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from torch.autograd.graph import Node

from mcoherence.gradients.batch.layers import Call, Layer
from mcoherence.gradients.graph.alignment import in_doubt
from mcoherence.gradients.graph.entries import Entry
from mcoherence.gradients.graph.layout import Layout
from mcoherence.gradients.graph.uses import Use
from mcoherence.gradients.graph.walk import GraphCut, Users, parameters_outside_calls, users_below


@dataclass(frozen=True)
class Routes:
    """How the parameters of a batch are measured.

    not_by_call: layers that no one call accounts for; calls: those of all others that took part in the losses.
    uses: of the parameters that are measured at their uses, by name.
    entries: of the others, where what is computed of them meets the examples, by name.
    layouts: where the examples are in the outputs of nodes; sure: whether they are there, and first at every call.
    reached: the graph.
    """

    not_by_call: Collection[Layer]
    calls: list[Call]
    uses: dict[str, tuple[Use, ...]]
    entries: dict[str, tuple[Entry, ...]]
    layouts: dict[Node, Layout]
    sure: bool
    reached: Users

    def are_sure_calls(self) -> bool:
        """Whether one call of each layer accounts for all, and its rows are known to be the examples'."""
        return self.sure and not self.not_by_call and not any(self.nodes.values())

    @property
    def nodes(self) -> dict[str, list[Node]]:
        """Of all uses and entries, by the name of the parameter."""
        return {name: [one.node for one in found] for name, found in (*self.uses.items(), *self.entries.items())}


def unaccounted(
    layers: Sequence[Layer], root: Node, examples: int, routed: AbstractSet[str]
) -> tuple[set[Layer], Users]:
    """The layers that took part in a batch otherwise than by one call, and the nodes that the batch's gradient reaches.

    Args:
        layers: with the calls of the forward pass.
        root: the node of the batch's losses.
        examples: number of examples of the batch.
        routed: names of the parameters whose gradient is not to be had from calls, whatever this batch shows.
    """
    otherwise = {layer for layer in layers if layer.calls and not _is_one_call(layer, examples, routed)}
    cuts = {
        layer: GraphCut(
            layer.call.output_node,
            layer.call.argument.node,
            frozenset(map(id, layer.parameters.values())),
            layer.rule is None,
        )
        for layer in layers
        if layer.call is not None and layer not in otherwise
    }
    mixing = {layer for layer, cut in cuts.items() if cut.opaque and _may_mix(cut, examples)}
    otherwise |= mixing
    outside, reached = parameters_outside_calls(root, [cut for layer, cut in cuts.items() if layer not in mixing])
    otherwise |= {layer for layer in layers if any(id(p) in outside for p in layer.parameters.values())}
    return otherwise, reached


def _may_mix(cut: GraphCut, examples: int) -> bool:
    """Whether what a call without a rule does on the way from its input to its output may mix the examples."""
    if cut.input_node is None:
        return False
    return in_doubt(users_below([cut.output_node], cut.end), [cut.input_node], examples)


def _is_one_call(layer: Layer, examples: int, routed: AbstractSet[str]) -> bool:
    """Whether the layer was called once, one tensor to one tensor, examples first, and nothing of it is routed."""
    if layer.calls != 1 or layer.call is None or any(layer.qualified(name) in routed for name in layer.parameters):
        return False
    tensor = layer.call.argument.tensor
    return tensor.dim() > 0 and len(tensor) == examples
