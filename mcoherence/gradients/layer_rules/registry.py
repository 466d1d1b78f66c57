"""How a rule is registered for its layer types, and what rules share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# (layer, inputs, output_grads) -> {parameter name: squared norms [n]}
LayerRule = Callable[[nn.Module, Tensor, Tensor], dict[str, Tensor]]
# The same, and {parameter name: sum of the per-example gradients, [*parameter shape]} for the same parameters.
SummingRule = Callable[[nn.Module, Tensor, Tensor], tuple[dict[str, Tensor], dict[str, Tensor]]]
# (layer, inputs, shape of the output) -> whether the summing rule is the cheaper one for this call
Preference = Callable[[nn.Module, Tensor, torch.Size], bool]
# (args, kwargs) of a call -> the one tensor that the call depends on, or None where there is no such tensor
CallInput = Callable[[tuple[Any, ...], Mapping[str, Any]], Tensor | None]


class NotModelledError(Exception):
    """A setting of a layer, or a shape of its input, that the layer's rule does not model."""


def only_argument(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The tensor of a call with one tensor and nothing else; None for any other call."""
    values = (*args, *kwargs.values())
    return values[0] if len(values) == 1 and isinstance(values[0], Tensor) else None


@dataclass(frozen=True)
class Registered:
    """What is known of a layer type.

    squared_norms: its rule.
    call_input: which tensor of a call the rule is about.
    summing: a rule that forms the per-example gradients, so that autograd need not form their sum again.
    prefers_summing: when to take it.
    forward: the method that the rule is about; None for any.
    linear_in_parameters: whether the output is a linear map of weight and bias, given the input.
    """

    squared_norms: LayerRule
    call_input: CallInput = only_argument
    summing: SummingRule | None = None
    prefers_summing: Preference | None = None
    forward: Callable[..., Any] | None = None
    linear_in_parameters: bool = False


# By exact type; `lookup.rule_for` reads it.
RULES: dict[type[nn.Module], Registered] = {}


def layer_rule(
    *layer_types: type[nn.Module],
    call_input: CallInput = only_argument,
    summing: SummingRule | None = None,
    prefers_summing: Preference | None = None,
    linear_in_parameters: bool = False,
) -> Callable[[LayerRule], LayerRule]:
    """Register the decorated rule for exactly these layer types (a subclass may compute something else)."""

    def register(rule: LayerRule) -> LayerRule:
        for layer_type in layer_types:
            RULES[layer_type] = Registered(
                rule, call_input, summing, prefers_summing, layer_type.forward, linear_in_parameters
            )
        return rule

    return register


def trainable(layer: nn.Module) -> dict[str, nn.Parameter]:
    """The layer's own parameters that require a gradient, by name."""
    return {name: p for name, p in layer.named_parameters(recurse=False) if p.requires_grad}


def weight_and_bias(layer: nn.Module) -> list[str]:
    """The names of the layer's own trainable parameters, out of "weight" and "bias", in the layer's order.

    Raises:
        NotModelledError: there are others, such as weight_g and weight_v of `torch.nn.utils.weight_norm`.
    """
    names = list(trainable(layer))
    if not {"weight", "bias"}.issuperset(names):
        raise NotModelledError(f"parameters {sorted(names)} of {type(layer).__name__}, expected weight and bias")
    return names
