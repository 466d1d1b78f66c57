"""The names that a model's parameters have, one for each module that holds them.

Whoever swaps parameters by `torch.func.functional_call` needs all of them, and `tie_weights=False`: for a module that
has two names, functional_call's own tie_weights swaps its parameter twice and puts back the swapped one (torch 2.15),
which changes the model.
"""

from torch import nn


def names_by_module(model: nn.Module) -> dict[int, list[str]]:
    """{id of a parameter: its qualified names, one per module that holds it}; several where it is tied."""
    names: dict[int, list[str]] = {}
    for module_name, module in model.named_modules():  # each module once, whatever names it has
        for name, p in module._parameters.items():
            if p is not None:
                names.setdefault(id(p), []).append(f"{module_name}.{name}" if module_name else name)
    return names
