"""The names that a model's parameters have, one for each module that holds them.

Whoever swaps parameters by `torch.func.functional_call` needs all of them, and `tie_weights=False`: for a module that
has two names, functional_call's own tie_weights swaps its parameter twice and puts back the swapped one (torch 2.15),
which changes the model.
"""

from collections.abc import Iterable

from torch import nn

# What wrappers call the model within: data parallel and averaged ones, and compiled ones.
MODULE, COMPILED = "module", "_orig_mod"
OF_AVERAGED = "n_averaged"  # the buffer that torch's AveragedModel has beside its model


def names_by_module(model: nn.Module) -> dict[int, list[str]]:
    """{id of a parameter: its qualified names, one per module that holds it}; several where it is tied."""
    names: dict[int, list[str]] = {}
    for module_name, module in model.named_modules():  # each module once, whatever names it has
        for name, p in module._parameters.items():
            if p is not None:
                names.setdefault(id(p), []).append(f"{module_name}.{name}" if module_name else name)
    return names


def without_wrappers(names: Iterable[str]) -> dict[str, str]:
    """{name in a state_dict: the same without what wrappers put before it}, by the names alone.

    "_orig_mod" is taken out wherever it stands, "module" where all names begin with it, as often as they do. What an
    averaged model counts is left out. `mcoherence.gradients.given.wrappers` has the like of a model, whose types say
    more.

    Example:
        >>> without_wrappers(["module.0._orig_mod.weight", "module.0.bias", "n_averaged"])
        {'module.0._orig_mod.weight': '0.weight', 'module.0.bias': '0.bias'}
    """
    plain = {name: ".".join(part for part in name.split(".") if part != COMPILED) for name in names}
    inner = {name: one for name, one in plain.items() if name != OF_AVERAGED}
    stripped = False
    while inner and all(one.startswith(f"{MODULE}.") for one in inner.values()):
        inner, stripped = {name: one.removeprefix(f"{MODULE}.") for name, one in inner.items()}, True
    return inner if stripped else plain
