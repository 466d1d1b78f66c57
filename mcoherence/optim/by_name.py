"""The optimisers by the names of their methods.

Both the table of methods and the modules of the optimisers are imported by name here, so that neither an entry more nor
an edit of one optimiser changes the code that others' runs depend on (`mcoherence.study.code_digest`).
"""

from importlib import import_module
from typing import Any

from mcoherence.errors import UserError, meant


def class_of(method: str) -> Any:
    """The optimiser's class of a method, that of the module of its name.

    Raises:
        UserError: there is no such method.
    """
    methods = import_module("mcoherence.optim.methods").METHODS
    if method not in methods:
        near = meant(method, methods)
        raise UserError(f"optimizer.method: found {method!r}{near}, expected one of {', '.join(methods)}; choose one")
    return getattr(import_module(f"mcoherence.optim.{method}"), methods[method].optimizer)


def method_of_class(name: str) -> str | None:
    """The method whose optimiser's class has this name, in either spelling; None where there is none."""
    table = import_module("mcoherence.optim.methods")
    for other, own in table.OTHER_SPELLINGS.items():
        name = name.replace(other.capitalize(), own.capitalize())
    return next((method for method, entry in table.METHODS.items() if entry.optimizer == name), None)


def names_of_classes() -> list[str]:
    """The names of the optimisers' classes."""
    methods = import_module("mcoherence.optim.methods").METHODS
    return sorted(entry.optimizer for entry in methods.values())
