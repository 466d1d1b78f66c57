"""The modules whose parameters one call may account for, and what is seen of each of them in a batch."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from mcoherence.gradients.layer_rules.lookup import rule_for
from mcoherence.gradients.layer_rules.products import Rows
from mcoherence.gradients.layer_rules.registry import Registered, trainable


@dataclass(frozen=True)
class Argument:
    """The input of a call as it was before the call: a tensor, its version, and its node in the graph."""

    tensor: Tensor
    version: int
    node: Node | None

    @classmethod
    def of(cls, tensor: Tensor) -> "Argument":
        """The tensor as it is now; its node is the one that its gradient flows on to, a leaf's own included."""
        node = get_gradient_edge(tensor).node if tensor.requires_grad else None
        return cls(tensor.detach(), tensor._version, node)

    def is_unchanged(self) -> bool:
        """Whether nothing has been written to the tensor since."""
        return bool(self.tensor._version == self.version)


@dataclass(frozen=True)
class Call:
    """One call of a module: its input, and the edge in the graph, the shape and the dtype of its output.

    outputs: a copy, since what follows may write into the output; None of a module whose outputs nobody asks for.
    """

    argument: Argument
    output: GradientEdge
    output_shape: torch.Size
    dtype: torch.dtype
    outputs: Tensor | None

    @property
    def output_node(self) -> Node:
        """The node of its output."""
        return self.output.node


@dataclass(eq=False)
class Layer:
    """A module with trainable parameters that its calls may account for, and what was seen of it in a batch.

    parameters: {name within the module: parameter}; those of its children too where a rule covers them.
    keeps_outputs: whether a copy of what it gives is kept, in all batches to come.
    started: arguments of the calls that have begun and not ended.
    calls: finished calls that take part in the graph.
    call: the last call; None where it is not one tensor to one tensor, or has been dealt with.
    by_call: whether what comes to the output of the last call is measured, or was.
    summing: whether its gradients are summed here, and not by autograd.
    rows: of a module without a rule.
    apart: whether it gave each example alone what it gave it in the batch, bool [], of a module without a rule.
    products: of the examples' gradients with directions, by the qualified name of the module whose parameters they are.
    lengths: of the rows of its output gradient, and of those of weighted losses, where in doubt (`graph.probe`).
    """

    name: str
    module: nn.Module
    rule: Registered | None
    parameters: dict[str, nn.Parameter]
    keeps_outputs: bool = False
    started: list[Argument | None] = field(default_factory=list)
    calls: int = 0
    call: Call | None = None
    by_call: bool = False
    summing: bool = False
    squared_norms: dict[str, Tensor] = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)
    rows: dict[str, Rows] = field(default_factory=dict)
    apart: Tensor | None = None
    products: dict[str, Tensor] = field(default_factory=dict)
    lengths: list[Tensor] = field(default_factory=list)

    def qualified(self, parameter: str) -> str:
        """The parameter's name in the model, such as "conv1.weight"."""
        return f"{self.name}.{parameter}" if self.name else parameter

    def has_own_weights(self) -> bool:
        """Whether the module holds the parameters that it was found with, and no others in their place."""
        return all(holder.get(name) is p for holder, name, p in self._places)

    @cached_property
    def _places(self) -> list[tuple[dict[str, nn.Parameter | None], str, nn.Parameter]]:
        """For each parameter what it stands in, and its name there."""
        owners = {name: name.rpartition(".") for name in self.parameters}
        return [
            (self.module.get_submodule(owners[name][0])._parameters, owners[name][2], p)
            for name, p in self.parameters.items()
        ]

    def forget(self) -> None:
        """Drop what was seen of the batch before."""
        self.started, self.calls, self.call, self.by_call, self.summing = [], 0, None, False, False
        self.squared_norms, self.sums, self.rows, self.products, self.lengths = {}, {}, {}, {}, []
        self.apart = None


def measurable_layers(model: nn.Module) -> list[Layer]:
    """The modules whose parameters one call may account for, in the model's order.

    Those are modules with a rule, and modules without children that have parameters of their own. A module with
    children of its own runs code that may use any of their parameters, and one with hooks or parametrisations may
    compute something else than its type says.
    """
    layers: list[Layer] = []
    covered: set[nn.Module] = set()
    for name, module in model.named_modules():
        if module in covered or has_hooks(module):
            continue
        rule = rule_for(module)
        parameters = {key: p for key, p in module.named_parameters(recurse=rule is not None) if p.requires_grad}
        if rule is not None:
            covered.update(module.modules())
        alone = all(not trainable(child) for child in module.modules() if child is not module)
        if parameters and (rule is not None or alone):
            layers.append(Layer(name, module, rule, parameters))
    return layers


def has_hooks(module: nn.Module) -> bool:
    """Whether hooks, which may change what goes in and comes out, are on the module, on one within it, or on all."""
    return has_global_hooks() or any(
        part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
        for part in module.modules()
    )


def has_global_hooks() -> bool:
    """Whether there are hooks on every module there is (`torch.nn.modules.module.register_module_forward_hook`)."""
    every = torch.nn.modules.module
    return bool(
        every._global_forward_hooks
        or every._global_forward_pre_hooks
        or every._global_backward_hooks
        or every._global_backward_pre_hooks
    )


def has_node_hooks(model: nn.Module) -> bool:
    """Whether a module has a hook of the old kind (`register_backward_hook`), which sits on whatever came last in it.

    The gradients of the weights that this used pass through it, unseen by any layer.
    """
    parts, seen = [model], set()  # in every batch; a quarter of the time that `modules()` takes
    while parts:
        part = parts.pop()
        if part._backward_hooks and not part._is_full_backward_hook:
            return True
        if part not in seen:
            seen.add(part)
            parts += [child for child in part._modules.values() if child is not None]
    return False
