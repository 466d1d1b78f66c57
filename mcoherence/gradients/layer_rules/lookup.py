"""The rule of a layer, out of those that the modules beside this one register when they are imported."""

from torch import nn

from mcoherence.gradients.layer_rules import (  # noqa: F401  (they register)
    convolution,
    embedding,
    linear,
    normalization,
)
from mcoherence.gradients.layer_rules.registry import RULES, Registered


def rule_for(layer: nn.Module) -> Registered | None:
    """What is registered for the exact type of `layer`, or None where its forward may be anybody's."""
    rule = RULES.get(type(layer))
    if rule is None or "forward" in vars(layer) or rule.forward not in (None, type(layer).forward):
        return None
    return rule
