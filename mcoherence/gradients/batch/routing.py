"""Which parameters do the calls of their layers account for, and which the graph? Decided before every backward pass.

Index letter: n examples.
"""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from torch import Tensor, nn
from torch.autograd.graph import Node

from mcoherence.gradients.batch.by_entries import ByEntries
from mcoherence.gradients.batch.by_uses import ByUses, fit
from mcoherence.gradients.batch.layers import Call, Layer
from mcoherence.gradients.graph.alignment import in_doubt, layouts
from mcoherence.gradients.graph.entries import Entry, Followed
from mcoherence.gradients.graph.layout import EXAMPLES_FIRST, Layout
from mcoherence.gradients.graph.uses import Use
from mcoherence.gradients.graph.walk import GraphCut, Users, leaves_of, parameters_outside_calls, users_below
from mcoherence.parameter_names import names_by_module


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


class Router:
    """Which way each parameter is measured, as the batches so far have shown.

    routed: names of the parameters that are measured neither by calls nor in the graph; once routed, always routed.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        trained: Mapping[str, Tensor],
        uses: ByUses,
        entries: ByEntries,
    ) -> None:
        self._layers, self._trained, self._uses, self._entries = layers, trained, uses, entries
        self.routed: set[str] = set()
        measurable = {id(p) for layer in layers for p in layer.parameters.values()}
        # By all of their names, each its own layer's. A layer without a rule is tried in the graph, then by its call.
        self._by_uses = {name for known in names_by_module(model).values() if len(known) != 1 for name in known}
        self._by_uses |= {name for name, p in trained.items() if id(p) not in measurable}
        self._by_uses |= {layer.qualified(name) for layer in layers if not layer.rule for name in layer.parameters}
        self._by_entries: set[str] = set()  # of those, whose uses are not understood
        self._by_call_alone: set[str] = set()

    def routes(self, root: Node, examples: int, followed: Followed | None, *, example_wise: bool) -> Routes:
        """How all parameters of a batch are measured.

        Args:
            root: the node of the batch's losses, or of the model's output.
            examples: their number, n.
            followed: what the tensors of the pass were computed of, if that is known.
            example_wise: whether the rows of every call are the examples', whatever is above it.

        Raises:
            UnfollowedError: that is to be known first.
        """
        found = None
        while found is None:
            found = self._by_what_is_known(root, examples, followed, example_wise)
        return found

    def _by_what_is_known(
        self, root: Node, examples: int, followed: Followed | None, example_wise: bool
    ) -> Routes | None:
        """The routes; None where what is known of the parameters does not go, and now more is known."""
        not_by_call, reached = unaccounted(self._layers, root, examples, self.routed | self._by_uses)
        more = {layer.qualified(name) for layer in not_by_call for name in layer.parameters} - self.routed
        if more - self._by_uses:
            self._by_uses |= more
            return None
        calls = [
            layer.call
            for layer in self._layers
            if layer not in not_by_call and layer.call is not None and layer.call.output_node in reached
        ]
        tried = self._by_uses - self.routed
        used = self._uses.found(reached, tried - self._by_entries)
        understood = {name: uses for name, uses in used.items() if uses is not None}
        by_entries = (tried & self._by_entries) | (used.keys() - understood.keys())
        where, sure = {call.output_node: EXAMPLES_FIRST for call in calls}, True
        if not example_wise:
            where, sure = self._layouts(calls, understood, by_entries, reached, examples)
        unfit = {name for name, uses in understood.items() if not fit(uses, where, examples)}
        if unfit or by_entries - self._by_entries:  # others are to be followed in the graph
            self._by_entries |= by_entries | unfit
            return None
        entered = self._entries.found(reached, by_entries, where, examples, followed)
        if lost := {name for name, entries in entered.items() if entries is None}:
            self._give_up(lost, examples, followed)
            return None
        entries = {name: found for name, found in entered.items() if found is not None}
        moved = {call.output_node for call in calls if where.get(call.output_node) != EXAMPLES_FIRST}
        doubted = [layer for layer in self._layers if layer.call is not None and layer.call.output_node in moved]
        others = {layer.qualified(name) for layer in doubted for name in layer.parameters} - self._by_call_alone
        if not sure and others - self._by_uses:
            self._by_uses |= others  # positions that are as many as examples, say
            return None
        return Routes(not_by_call, calls, understood, entries, where, sure, reached)

    def _layouts(
        self, calls: list[Call], used: dict[str, tuple[Use, ...]], by_entries: set[str], reached: Users, examples: int
    ) -> tuple[dict[Node, Layout], bool]:
        """Where the examples are at all of these places, and whether that is sure, and as calls need it."""
        of_calls = [call.output_node for call in calls]
        nodes = [*of_calls, *(use.node for uses in used.values() for use in uses)]
        if by_entries:
            leaves = leaves_of(reached, {name: self._trained[name] for name in by_entries})
            nodes += [user for leaf in leaves.values() for user, _ in reached[leaf]]
        if not nodes:
            return {}, True
        found, sure = layouts(reached, nodes, examples)
        return found, sure and all(found[node] == EXAMPLES_FIRST for node in of_calls)

    def _give_up(self, names: set[str], examples: int, followed: Followed | None) -> None:
        """Leave what is not understood in the graph to the one call of its layer, or else to the whole model.

        A call runs again for each example with what the layer finds outside of it. If this hangs on the batch, and
        weights are computed of it, neither the layer's outputs nor its rows show that.
        """
        for layer in self._layers:
            own = {layer.qualified(name) for name in layer.parameters}
            if own & names and not own & self._by_call_alone and self._may_run_again(layer, own, examples, followed):
                self._by_call_alone |= own
                self._by_uses -= own
                names = names - own
        self.routed |= names

    def _may_run_again(self, layer: Layer, own: set[str], examples: int, followed: Followed | None) -> bool:
        """Whether the layer was called, and what its call computes of its weights is the same for any examples."""
        if layer.call is None:
            return False
        within = users_below([layer.call.output_node], _cut(layer, layer.call).end)
        return self._entries.are_fixed(within, own, examples, followed)


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
    cuts = {layer: _cut(layer, layer.call) for layer in layers if layer.call is not None and layer not in otherwise}
    mixing = {layer for layer, cut in cuts.items() if cut.opaque and _may_mix(cut, examples)}
    otherwise |= mixing
    outside, reached = parameters_outside_calls(root, [cut for layer, cut in cuts.items() if layer not in mixing])
    otherwise |= {layer for layer in layers if any(id(p) in outside for p in layer.parameters.values())}
    return otherwise, reached


def _cut(layer: Layer, call: Call) -> GraphCut:
    own = frozenset(map(id, layer.parameters.values()))
    return GraphCut(call.output_node, call.argument.node, own, layer.rule is None)


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
