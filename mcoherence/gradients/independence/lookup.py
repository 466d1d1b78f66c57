"""The rule of an operation, whichever module has it."""

from mcoherence.gradients.independence import axis_operations, layer_operations  # noqa: F401 (they register rules)
from mcoherence.gradients.independence.operation_call import RULES, Rule


def rule_of(name: str) -> Rule | None:
    """The rule of an operation of torch's, by its name; None where nobody has looked at it."""
    return RULES.get(name)
