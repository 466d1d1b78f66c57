"""One pure rule per layer type: the squared norms of the per-example gradients of that layer's own parameters.

Index letters: n examples, t positions, d inputs of a layer, p outputs of a layer.

A rule sees what went into one call of the layer and the gradient of the summed loss with respect to what came out,
and returns {own parameter name: |g_i|^2, float64 [n]}. It never touches modules or parameters. A rule that meets a
setting it does not model raises `NotModelledError` and never ignores it; the caller then falls back
(`gradients.fallback`).
"""

from collections.abc import Callable

from torch import Tensor, nn

# (layer, inputs, output_grads) -> {own parameter name: squared norms [n]}
LayerRule = Callable[[nn.Module, Tensor, Tensor], dict[str, Tensor]]

_RULES: dict[type[nn.Module], LayerRule] = {}


class NotModelledError(Exception):
    """A setting of a layer, or a shape of its input, that the layer's rule does not model."""


def layer_rule(*layer_types: type[nn.Module]) -> Callable[[LayerRule], LayerRule]:
    """Register the decorated rule for exactly these layer types (a subclass may compute something else)."""

    def register(rule: LayerRule) -> LayerRule:
        for layer_type in layer_types:
            _RULES[layer_type] = rule
        return rule

    return register


def rule_for(layer: nn.Module) -> LayerRule | None:
    """The rule registered for the exact type of `layer`, or None."""
    from mcoherence.gradients.layer_rules import convolution, linear, normalization  # noqa: F401  (they register)

    return _RULES.get(type(layer))


def trainable(layer: nn.Module) -> dict[str, nn.Parameter]:
    """The layer's own parameters that require a gradient, by name."""
    return {name: p for name, p in layer.named_parameters(recurse=False) if p.requires_grad}
