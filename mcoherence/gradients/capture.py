"""Hooks that see, for every layer with parameters, what went in and the gradient with respect to what came out.

A forward hook keeps the input and puts a tensor hook on the output. This survives in-place activations (a module's
backward hook does not), and the output itself is never kept, because an in-place operation would overwrite it.
Squared norms are taken inside the tensor hook and the tensors are let go at once, so that no more than one layer's
worth of extra memory is alive at a time.

Not every use of a parameter is one call of its module. `Capture.route` decides, between the forward and the backward
pass of every batch, which parameters the calls account for; a bare parameter that one operation spreads over the
examples is seen there (`broadcast`), and the others are left to `fallback.WholeModel`.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge

from mcoherence.gradients.broadcast import Spreading, spreadings
from mcoherence.gradients.fallback import Rows, layer_rows, names_by_module
from mcoherence.gradients.graph import Cut, parameters_outside_calls
from mcoherence.gradients.layer_rules import NotModelledError, Registered, only_argument, rule_for, trainable
from mcoherence.gradients.layer_rules.products import squared_norms

MIXED = (
    "the model or the loss mixes the examples of a batch, or draws random numbers, even in eval mode; "
    "make the loss of an example depend on that example alone"
)


class UnsupportedModelError(Exception):
    """A model whose per-example gradients cannot be taken exactly; the message names the module and the way out."""


@dataclass(frozen=True)
class Argument:
    """The input of a call as it was before the call: a tensor, its version, and its node in the graph."""

    tensor: Tensor
    version: int
    node: Node | None


@dataclass(frozen=True)
class Call:
    """One call of a module: its input, and the node and shape of its output."""

    argument: Argument
    output_node: Node
    output_shape: torch.Size


@dataclass
class Layer:
    """A module with trainable parameters that its calls may account for, and what was seen of it in a batch.

    parameters: {name within the module: parameter}; those of its children too where a rule covers them.
    started: arguments of the calls that have begun and not ended.
    calls: finished calls that take part in the graph.
    call: the last call; None where it is not one tensor to one tensor, or has been dealt with.
    summing: whether its gradients are summed here, and not by autograd.
    """

    name: str
    module: nn.Module
    rule: Registered | None
    parameters: dict[str, nn.Parameter]
    started: list[Argument | None] = field(default_factory=list)
    calls: int = 0
    call: Call | None = None
    summing: bool = False
    squared_norms: dict[str, Tensor] = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)
    rows: dict[str, Rows] = field(default_factory=dict)

    def qualified(self, parameter: str) -> str:
        """The parameter's name in the model, such as "conv1.weight"."""
        return f"{self.name}.{parameter}" if self.name else parameter

    def forget(self) -> None:
        """Drop what was seen of the batch before."""
        self.started, self.calls, self.call, self.summing = [], 0, None, False
        self.squared_norms, self.sums, self.rows = {}, {}, {}


class Capture:
    """Squared norms of per-example gradients, layer by layer, from the hooks of one backward pass.

    routed: names of the parameters whose gradient is not accounted for here; once routed, always routed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers = _layers(model)
        measurable = {id(p) for layer in self.layers for p in layer.parameters.values()}
        names = names_by_module(model)
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.routed = {name for name, p in trained.items() if len(names[id(p)]) > 1}
        self._bare = {name: p for name, p in trained.items() if id(p) not in measurable and name not in self.routed}
        self._bare_rows: dict[str, Rows] = {}
        self._examples = 0
        self._recording = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Hooks in place inside the block, and gone after it."""
        handles = []
        for layer in self.layers:
            handles.append(layer.module.register_forward_pre_hook(self._before(layer), with_kwargs=True))
            handles.append(layer.module.register_forward_hook(self._after(layer)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._forget()

    @contextmanager
    def recording(self, examples: int) -> Iterator[None]:
        """A forward pass of a batch of so many examples inside the block; calls outside it are not looked at."""
        self._forget()
        self._examples, self._recording = examples, True
        try:
            yield
        finally:
            self._recording = False

    def route(self, losses: Tensor) -> None:
        """Decide which layers their one call accounts for, given the losses [n] of the recorded forward pass."""
        for layer in self.layers:
            if layer.calls and not (layer.calls == 1 and self._is_by_example(layer)):
                self._route(layer)
        cuts = [
            Cut(
                layer.call.output_node,
                layer.call.argument.node,
                frozenset(map(id, layer.parameters.values())),
                layer.rule is None,
            )
            for layer in self.layers
            if layer.call is not None
        ]
        assert losses.grad_fn is not None
        outside, reached = parameters_outside_calls(losses.grad_fn, cuts)
        for layer in self.layers:
            if any(id(p) in outside for p in layer.parameters.values()):
                self._route(layer)
            layer.summing = layer.call is not None and layer.call.output_node in reached and _sums(layer, layer.call)
        self._watch_bare(losses.grad_fn)

    def summed(self) -> set[str]:
        """Names of the parameters whose per-example gradients the hooks of this batch are to form and sum."""
        return {layer.qualified(name) for layer in self.layers if layer.summing for name in layer.parameters}

    def sums(self) -> dict[str, Tensor]:
        """{qualified name: sum of the per-example gradients} of what was summed in the hooks."""
        return {layer.qualified(name): value for layer in self.layers for name, value in layer.sums.items()}

    def collected(self) -> tuple[dict[str, Tensor], dict[str, Rows]]:
        """Of the parameters that calls account for, by qualified name, where they took part in the batch's loss.

        Returns:
            {name: |g_i|^2, float64 [n]} and, for the layers without a rule, {name: the same and the sum of the rows}.
        """
        norms = {layer.qualified(k): v for layer in self.layers for k, v in layer.squared_norms.items()}
        rows = {layer.qualified(k): v for layer in self.layers for k, v in layer.rows.items()} | self._bare_rows
        norms |= {name: value.squared_norms for name, value in self._bare_rows.items()}
        seen = {name: value for name, value in norms.items() if name not in self.routed}
        return seen, {name: value for name, value in rows.items() if name in seen}

    def _forget(self) -> None:
        for layer in self.layers:
            layer.forget()
        self._bare_rows = {}

    def _watch_bare(self, root: Node) -> None:
        """Take the rows of bare parameters where an operation spreads them over the examples; route the others."""
        bare = {name: p for name, p in self._bare.items() if name not in self.routed}
        if not bare:
            return
        for name, spreading in spreadings(root, bare, self._examples).items():
            try:
                factor = 1 if spreading is None else spreading.factor()
            except RuntimeError:  # what the operation saved has been written to since
                spreading = None
            if spreading is None:
                self.routed.add(name)
            else:
                spreading.node.register_prehook(self._bare_hook(name, spreading, factor))

    def _bare_hook(self, name: str, spreading: Spreading, factor: Any) -> Any:
        def hook(output_grads: tuple[Tensor | None, ...]) -> None:
            if output_grads[0] is not None:
                rows = spreading.rows(_wide(output_grads[0].detach()), factor)
                total = rows.sum(dim=0).reshape(self._bare[name].shape)
                self._bare_rows[name] = Rows(squared_norms(rows), total)

        return hook

    def _route(self, layer: Layer) -> None:
        layer.call = None
        self.routed.update(layer.qualified(name) for name in layer.parameters)

    def _is_by_example(self, layer: Layer) -> bool:
        """Whether the layer's one call was one tensor to one tensor, examples first, of nothing that is routed."""
        if layer.call is None or any(layer.qualified(name) in self.routed for name in layer.parameters):
            return False
        tensor = layer.call.argument.tensor
        return tensor.dim() > 0 and len(tensor) == self._examples

    def _before(self, layer: Layer) -> Any:
        call_input = layer.rule.call_input if layer.rule else only_argument

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._recording:
                tensor = call_input(args, kwargs)
                layer.started.append(None if tensor is None else _as_argument(tensor))

        return hook

    def _after(self, layer: Layer) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if not self._recording:
                return
            argument = layer.started.pop()
            first = output[0] if isinstance(output, tuple) and layer.rule is not None else output
            if isinstance(first, Tensor) and not first.requires_grad:
                return
            layer.calls += 1
            layer.call = None
            by_example = isinstance(first, Tensor) and first.dim() > 0 and len(first) == self._examples
            # A module that writes into its input, or hands it back, has no output apart from it.
            unchanged = argument is not None and argument.tensor._version == argument.version
            if by_example and argument is not None and unchanged and first.grad_fn is not argument.node:
                layer.call = Call(argument, first.grad_fn, first.shape)
                first.register_hook(lambda output_grads: self._measure(layer, output_grads.detach()))

        return hook

    def _measure(self, layer: Layer, output_grads: Tensor) -> None:
        if layer.call is None:  # routed, or measured before
            return
        argument, layer.call = layer.call.argument, None
        if argument.tensor._version != argument.version:  # written to after the call
            self._route(layer)
            return
        try:
            layer.squared_norms, layer.sums = _by_rule(layer, argument.tensor, output_grads)
        except NotModelledError:
            self._measure_without_rule(layer, argument.tensor, output_grads)

    def _measure_without_rule(self, layer: Layer, inputs: Tensor, output_grads: Tensor) -> None:
        try:
            layer.rows = layer_rows(layer.module, inputs, output_grads)
        except Exception:  # what vmap cannot vectorise raises all kinds of errors; the whole model tells a real one
            self._route(layer)
        else:
            layer.squared_norms = {name: rows.squared_norms for name, rows in layer.rows.items()}


def _layers(model: nn.Module) -> list[Layer]:
    """The modules whose parameters one call may account for, in the model's order.

    Those are modules with a rule, and modules without children that have parameters of their own. A module with
    children of its own runs code that may use any of their parameters, and one with hooks or parametrisations may
    compute something else than its type says.
    """
    layers: list[Layer] = []
    covered: set[nn.Module] = set()
    for name, module in model.named_modules():
        if module in covered or _is_altered(module):
            continue
        rule = rule_for(module)
        parameters = {key: p for key, p in module.named_parameters(recurse=rule is not None) if p.requires_grad}
        if rule is not None:
            covered.update(module.modules())
        alone = all(not trainable(child) for child in module.modules() if child is not module)
        if parameters and (rule is not None or alone):
            layers.append(Layer(name, module, rule, parameters))
    return layers


def _is_altered(module: nn.Module) -> bool:
    """Whether hooks, which may change what goes in and comes out, are on the module or on a module within it."""
    return any(
        part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
        for part in module.modules()
    )


def _sums(layer: Layer, call: Call) -> bool:
    """Whether the layer's summing rule is to take the place of autograd's weight gradient in this call.

    Only where a gradient flows on to the input: else nothing might be left that makes autograd come by.
    """
    rule = layer.rule
    if rule is None or rule.prefers_summing is None or call.argument.node is None:
        return False
    return rule.prefers_summing(layer.module, call.argument.tensor, call.output_shape)


def _by_rule(layer: Layer, inputs: Tensor, output_grads: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Squared norms, and sums of what the layer is to sum, by the layer's rules; NotModelledError without any."""
    if layer.rule is None:
        raise NotModelledError
    inputs, output_grads = _wide(inputs), _wide(output_grads)
    kind = inputs.device.type
    with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
        if layer.summing and layer.rule.summing is not None:
            return layer.rule.summing(layer.module, inputs, output_grads)
        return layer.rule.squared_norms(layer.module, inputs, output_grads), {}


def _as_argument(tensor: Tensor) -> Argument:
    """The tensor as it is now; its node is the one that its gradient flows on to, a leaf's own included."""
    node = get_gradient_edge(tensor).node if tensor.requires_grad else None
    return Argument(tensor.detach(), tensor._version, node)


def _wide(tensor: Tensor) -> Tensor:
    """The tensor in float32 where its dtype is narrower: squares of bfloat16 and float16 lose or overflow."""
    narrow = tensor.is_floating_point() and tensor.dtype.itemsize < torch.float32.itemsize
    return tensor.to(torch.float32) if narrow else tensor
