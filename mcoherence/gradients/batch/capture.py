"""Hooks that see, for every layer with parameters, what went in and the gradient with respect to what came out.

A forward hook keeps the input and puts a tensor hook on the output. This survives in-place activations (a module's
backward hook does not), and the output itself is never kept, because an in-place operation would overwrite it.
Squared norms are taken inside the tensor hook and the tensors are let go at once, so that no more than one layer's
worth of extra memory is alive at a time.

With directions in the space of the parameters, products of the examples' gradients with them are taken in place of the
squared norms (`layer_products`).

Not every use of a parameter is one call of its module. Between the forward and the backward pass of every batch
`routing` tells which layers their calls do not account for. Their parameters, and those that belong to no layer, are
measured where the graph shows their uses (`by_uses`), or where what is computed of them meets the examples
(`by_entries`), and what is not understood there is left to `fallback.WholeModel`. So that the graph shows the uses of
recurrent layers' weights, these are computed in another way meanwhile (`graph.recurrent`).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from mcoherence.device import sent
from mcoherence.gradients.batch.by_entries import ByEntries, UnfollowedError
from mcoherence.gradients.batch.by_uses import ByUses
from mcoherence.gradients.batch.directions import Directions
from mcoherence.gradients.batch.edges import lowest_edges, with_none_below
from mcoherence.gradients.batch.fallback import layer_rows
from mcoherence.gradients.batch.kept_calls import KeptCalls
from mcoherence.gradients.batch.layer_products import layer_products
from mcoherence.gradients.batch.layers import Argument, Call, Layer, measurable_layers
from mcoherence.gradients.batch.routing import Router
from mcoherence.gradients.batch.rule_calls import by_rule, sums_here
from mcoherence.gradients.given.layer_names import layer_of
from mcoherence.gradients.graph.entries import Followed
from mcoherence.gradients.graph.following import Following
from mcoherence.gradients.graph.probe import Probe, lengths
from mcoherence.gradients.graph.recurrent import Recurrent
from mcoherence.gradients.graph.untraced import Untraced
from mcoherence.gradients.graph.walk import has_own_function
from mcoherence.gradients.graph.watching import Watch
from mcoherence.gradients.layer_rules.products import Rows
from mcoherence.gradients.layer_rules.registry import NotModelledError, only_argument

Place = Layer | tuple[str, int]  # a layer, or one use or entry of a parameter, by name and number


class Capture:
    """Squared norms of per-example gradients, layer by layer, from the hooks of one backward pass.

    careful: rules compute in float64, whatever the model's dtype.
    has_own_function: whether a function of somebody's own was in the graph of the pass at hand, if that is in doubt.
    by_calls: whether the pass at hand is accounted for by one call of each layer, whose rows are sure.
    keeping: whether to keep what the calls of a batch gave; kept: of the batch at hand.
    lowest: what to ask autograd for so that it comes by all layers; of passes for products only.
    edges: what to ask autograd for besides the parameters that are not summed here, and to `hand` back.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers = measurable_layers(model)
        self.careful = False
        self._trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._uses, self._entries = ByUses(self._trained), ByEntries(self._trained)
        self._router = Router(model, self.layers, self._trained, self._uses, self._entries)
        self._model = model
        self._own = {id(one): one for one in (*model.parameters(), *model.buffers())}
        self._recurrent = Recurrent(model)
        self._shows_recurrent = bool(self._recurrent.layers)
        self._reads = False  # whether a pass has read the values of tensors, and others than fixed ones
        self._reads_others = False
        self._follows = False  # what tensors are computed of, for the sake of entries
        self._following: Following | None = None
        self._examples = 0
        self._watch: Watch | None = None
        self._directions: Directions | None = None
        self.lowest: list[Any] = []
        self.edges: list[GradientEdge] = []
        self.keeping = False
        self.by_calls = self.has_own_function = False
        self.kept = KeptCalls()
        self._probe: Probe | None = None

    @property
    def routed(self) -> set[str]:
        """Names of the parameters whose gradient is not accounted for here; once routed, always routed."""
        return self._router.routed

    @routed.setter
    def routed(self, names: set[str]) -> None:
        self._router.routed = names

    @contextmanager
    def active(self) -> Iterator[None]:
        """Hooks in place inside the block, and gone after it."""
        handles = []
        for layer in self.layers:
            handles.append(layer.module.register_forward_pre_hook(self._before(layer), with_kwargs=True))
            handles.append(layer.module.register_forward_hook(self._after(layer)))
        try:
            with self._recurrent.in_place():
                yield
        finally:
            for handle in handles:
                handle.remove()
            self._forget()

    @contextmanager
    def recording(
        self,
        examples: int,
        directions: Directions | None = None,
        counting: bool = False,
        given: Iterable[Tensor] = (),
    ) -> Iterator[Watch]:
        """A forward pass of a batch of so many examples inside the block; calls outside it are not looked at.

        The value tells what the pass did that no graph shows, and with `counting` what it made. `given` are its inputs
        and targets. With `directions` it is a pass for products with them, of a batch that was measured before: its
        rows are the examples' or are routed, so that they are in no doubt.
        """
        self._forget()
        self._examples, self._directions = examples, directions
        self._recurrent.shown = self._shows_recurrent
        worth_it = self._reads and not self._reads_others
        self._following = Following(self._model) if worth_it or self._follows else None
        untraced = Untraced(examples, self._own, given) if directions is None else None
        watch = self._watch = Watch(self._following, counting, untraced)
        try:
            with watch:
                yield watch
        finally:
            self._watch = None
            if untraced is not None:
                untraced.forget()
            self._reads_others |= worth_it and watch.values_read
            self._reads |= watch.values_read

    def route_all(self) -> None:
        """Leave every parameter to the whole model: hooks may change gradients behind the back of those here."""
        for layer in self.layers:
            self._route(layer)
        self.routed.update(self._trained)

    def route(self, losses: Tensor, *, example_wise: bool = False) -> bool:
        """Decide what is measured by its layer's one call and what in the graph, given the losses [n] of the pass.

        Or given what came out of the model, [n, ...], where the losses have been differentiated by themselves. Of an
        `example_wise` model the rows of every call are known to be the examples', whatever is above it.

        Returns:
            Whether that is decided; if not, the pass is to be made again, and more will be followed in it.
        """
        following, self._following = self._following, None
        followed = None if following is None else Followed(following.seen_nodes(), following.fixed_nodes())
        assert losses.grad_fn is not None
        try:
            routes = self._router.routes(losses.grad_fn, self._examples, followed, example_wise=example_wise)
        except UnfollowedError:
            self._follows = True
            return False
        self._follows = bool(routes.entries)  # calls are looked at once
        self.by_calls = routes.are_sure_calls() and not self.routed
        for layer in routes.not_by_call:
            layer.call = None
        for layer in self.layers:
            layer.by_call = layer.call is not None
            summable = layer.call is not None and layer.call.output_node in routes.reached and self._directions is None
            layer.summing = summable and layer.call is not None and sums_here(layer, layer.call)
        if self._directions is None and self._outputs_lack():
            return False
        if self._directions is not None:
            self.lowest = lowest_edges(routes.calls, routes.nodes, routes.reached, self._trained)
        elif not routes.sure:
            edges = lowest_edges(routes.calls, routes.nodes, routes.reached, self._trained)
            of_uses = [node._input_metadata[0].dtype for nodes in routes.nodes.values() for node in nodes]
            dtypes = [losses.dtype, *(call.dtype for call in routes.calls), *of_uses]
            self._probe = Probe(edges, dtypes, self._examples)
            self._uses.probing = self._entries.probing = True
            self.has_own_function = has_own_function(routes.reached)
        kept = self.kept if self.keeping else None
        self._uses.watch(routes.uses, routes.layouts, self._examples, self._directions, kept, self.careful)
        self._entries.watch(routes.entries, self._examples, self._directions, self.careful)
        if routes.entries and kept is not None:
            kept.complete = False
        if self._directions is None:
            summed = [layer.call.output for layer in self.layers if layer.summing and layer.call is not None]
            summed += [GradientEdge(use.node, 0) for name in self._uses.summed() for use in routes.uses[name]]
            self.edges = with_none_below(summed, routes.calls, routes.nodes, routes.reached)
        return True

    def _outputs_lack(self) -> bool:
        """Whether a layer without a rule is now measured by its call and kept no outputs; it will from here on."""
        before = [layer.keeps_outputs for layer in self.layers]
        for layer in self.layers:
            routed = any(layer.qualified(name) in self.routed for name in layer.parameters)
            layer.keeps_outputs = not routed and (layer.keeps_outputs or (layer.rule is None and layer.by_call))
        return any(one.keeps_outputs and not kept for one, kept in zip(self.layers, before, strict=True))

    @property
    def in_doubt(self) -> bool:
        """Whether the rows of layers may be others than those of the examples, so that `graph.probe` is to be called.

        The backward pass before it then has to keep the graph.
        """
        return self._probe is not None

    def probe(self, losses: Tensor) -> None:
        """Route the layers whose rows are not those of the examples, by a second backward pass of weighted losses."""
        probe = self._probe
        assert probe is not None
        try:
            given = sent(probe.weights.to(losses.dtype), losses.device)
            torch.autograd.grad(losses, tuple(probe.edges), given, allow_unused=True)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception:  # something in the model has let go of what it needs, and fails by any error: no telling
            probe.edges = []
        seen: dict[Place, list[Tensor]] = {layer: layer.lengths for layer in self.layers if layer.lengths}
        for use, of_rows in (self._uses.lengths | self._entries.lengths).items():
            seen[use] = of_rows
        for place in probe.failed(seen):
            if isinstance(place, Layer):
                self._route(place)
            else:
                self.routed.add(place[0])

    def summed(self) -> set[str]:
        """Names of the parameters whose per-example gradients the hooks of this batch are to form and sum."""
        of_calls = {layer.qualified(name) for layer in self.layers if layer.summing for name in layer.parameters}
        return of_calls | (self._uses.summed() - self.routed)

    def hand(self, output_grads: Iterable[Tensor | None]) -> None:
        """What autograd gave for `edges`: it has gone up to these places, and not through them."""
        for edge, given in zip(self.edges, output_grads, strict=True):
            self._uses.hand(edge.node, given)

    def sums(self) -> dict[str, Tensor]:
        """{qualified name: sum of the per-example gradients} of what was summed in the hooks."""
        of_calls = {layer.qualified(name): value for layer in self.layers for name, value in layer.sums.items()}
        return of_calls | self._uses.sums()

    def apart(self) -> dict[str, Tensor]:
        """{qualified name: whether its layer, which has no rule, gave each example alone the same; bool []}."""
        found = [(layer, layer.apart) for layer in self.layers]
        return {layer.qualified(name): it_is for layer, it_is in found if it_is is not None for name in layer.rows}

    def collected(self) -> tuple[dict[str, Tensor], dict[str, Rows]]:
        """Of the parameters that calls account for, by qualified name, where they took part in the batch's loss.

        Returns:
            {name: |g_i|^2, float64 [n]} and, for the layers without a rule, {name: the same and the sum of the rows}.
        """
        entered = self._entries.rows()
        self.routed |= self._entries.failed
        norms = {layer.qualified(k): v for layer in self.layers for k, v in layer.squared_norms.items()}
        of_uses = self._uses.rows() | entered
        rows = {layer.qualified(k): v for layer in self.layers for k, v in layer.rows.items()} | of_uses
        norms |= self._uses.squared_norms() | {name: value.squared_norms for name, value in of_uses.items()}
        # A tied parameter has one name among the trained; its other layers know it by names of their own.
        # In the model's order, by which numbers are added up and examples drawn, whatever order a rule returns.
        self.let_go()
        seen = {name: norms[name] for name in self._trained if name in norms and name not in self.routed}
        return seen, {name: value for name, value in rows.items() if name in seen}

    def products(self) -> dict[str, Tensor]:
        """{layer: products float64 [D, n]} of the parameters that calls account for, added up over each layer."""
        found: dict[str, Tensor] = {}
        for layer in self.layers:
            if not any(layer.qualified(name) in self.routed for name in layer.parameters):
                found |= layer.products
        entered = self._entries.products()
        self.routed |= self._entries.failed
        for name, value in (self._uses.products() | entered).items():
            if name not in self.routed:
                owner = layer_of(name)
                found[owner] = found[owner] + value if owner in found else value
        self.let_go()
        return found

    def stop_showing(self) -> bool:
        """Leave recurrent layers as they are from here on, hooks and all; whether the pass before showed them."""
        before, self._shows_recurrent = self._shows_recurrent, False
        return before

    def show_by_steps(self) -> None:
        """Show recurrent layers step by step from here on: their gradients are differentiated in turn."""
        self._recurrent.by_steps = True

    def let_go(self) -> None:
        """Let go of the graph: the backward pass is over, and in passes to come recurrent layers are torch's own."""
        self._uses.let_go()
        self._entries.let_go()
        self._recurrent.shown = False

    def _forget(self) -> None:
        self._recurrent.shown = False
        for layer in self.layers:
            layer.forget()
        self._uses.forget()
        self._entries.forget()
        self.by_calls = self.has_own_function = False
        self._probe, self._directions, self.lowest, self.edges, self.kept = None, None, [], [], KeptCalls()

    def _route(self, layer: Layer) -> None:
        layer.call = None
        self.routed.update(layer.qualified(name) for name in layer.parameters)

    def _before(self, layer: Layer) -> Any:
        call_input = layer.rule.call_input if layer.rule else only_argument

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._watch is not None:
                if not layer.has_own_weights():  # but those that functional_call has put in their place
                    self._route(layer)
                with torch._C.DisableTorchFunction():  # these are no calls of the model
                    tensor = call_input(args, kwargs) if torch.is_grad_enabled() else None
                    layer.started.append(None if tensor is None else Argument.of(tensor))

        return hook

    def _after(self, layer: Layer) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if self._watch is not None:
                with torch._C.DisableTorchFunction():  # these are no calls of the model
                    self._finish_call(layer, output)

        return hook

    def _finish_call(self, layer: Layer, output: Any) -> None:
        argument = layer.started.pop()
        first = output[0] if isinstance(output, tuple) and layer.rule is not None else output
        if isinstance(first, Tensor) and not first.requires_grad:
            return
        layer.calls += 1
        layer.call = None
        by_example = (
            isinstance(first, Tensor) and not first.is_nested and first.dim() > 0 and len(first) == self._examples
        )
        if argument is None or not by_example:
            return
        # A module that writes into its input, or hands it back, has no output apart from it.
        if argument.is_unchanged() and first.grad_fn is not argument.node:
            edge = GradientEdge(first.grad_fn, first.output_nr)
            outputs = first.detach().clone() if layer.keeps_outputs else None
            layer.call = Call(argument, edge, first.shape, first.dtype, outputs)
            first.register_hook(lambda output_grads: self._measure(layer, output_grads))

    def _measure(self, layer: Layer, output_grads: Tensor) -> None:
        if not layer.by_call:
            return
        output_grads = output_grads.detach()
        if self._probe is not None:
            layer.lengths.append(lengths(output_grads))
        if layer.call is None:  # routed, or measured before
            return
        argument, outputs, layer.call = layer.call.argument, layer.call.outputs, None
        if not argument.is_unchanged():  # written to after the call
            self._route(layer)
            return
        if self.keeping:
            self.kept.calls.append((layer, argument, output_grads))
        if self._directions is not None:
            self._multiply(layer, argument.tensor, output_grads, self._directions)
            return
        try:
            layer.squared_norms, layer.sums = by_rule(layer, argument.tensor, output_grads, self.careful)
        except NotModelledError:
            if outputs is None:  # of a module whose rule does not go for this call
                self._route(layer)
                return
            self._measure_without_rule(layer, argument.tensor, outputs, output_grads)

    def _multiply(self, layer: Layer, inputs: Tensor, output_grads: Tensor, directions: Directions) -> None:
        try:
            layer.products = layer_products(layer, inputs, output_grads, directions, self.careful)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # what forward mode cannot do raises all kinds of errors; the whole model tells a real one
            self._route(layer)

    def _measure_without_rule(self, layer: Layer, inputs: Tensor, outputs: Tensor, output_grads: Tensor) -> None:
        try:
            measured = layer_rows(layer.module, inputs, outputs, output_grads)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # what vmap cannot vectorise raises all kinds of errors; the whole model tells a real one
            self._route(layer)
        else:
            layer.rows, layer.apart = measured.rows, measured.apart
            layer.squared_norms = {name: rows.squared_norms for name, rows in layer.rows.items()}
