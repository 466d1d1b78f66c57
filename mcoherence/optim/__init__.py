"""Optimisers, SGD's relatives that suppress weak gradient directions above all: one file and one entry for each.

A method `m` of a study's config lives in m.py; what it is, the table `methods.METHODS` says. The classes are imported
on first use by their names, such as `from mcoherence.optim import RM3`.
"""

from importlib import import_module
from typing import Any


def __dir__() -> list[str]:
    """What can be imported from here, used or not."""
    classes = import_module("mcoherence.optim.by_name").names_of_classes()
    return sorted({*globals(), *classes} - {"Any", "import_module"})


def __getattr__(name: str) -> Any:
    """The optimiser's class of this name, imported on first use; AttributeError for any other name."""
    by_name = import_module("mcoherence.optim.by_name")
    if name == "__all__":
        return by_name.names_of_classes()
    method = by_name.method_of_class(name)
    if method is None:
        raise AttributeError(f"module 'mcoherence.optim' has no attribute {name!r}")
    return by_name.class_of(method)
