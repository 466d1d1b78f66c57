"""Optimisers, SGD's relatives that suppress weak gradient directions above all: one file and one entry for each.

A method `m` of a study's config lives in m.py; what it is, the table `methods.METHODS` says, which loads no torch. Both
are imported on first use and by name, so that neither an entry more nor an edit of one optimiser changes the code that
others' runs depend on (see `mcoherence.study.code_digest`).
"""

from importlib import import_module
from typing import Any


def class_of(method: str) -> Any:
    """The optimiser's class of a method; KeyError where there is no such method."""
    name = import_module("mcoherence.optim.methods").METHODS[method].optimizer
    return getattr(import_module(f"mcoherence.optim.{method}"), name)


def __getattr__(name: str) -> Any:
    """METHODS, or the optimiser's class of this name, imported on first use; AttributeError for any other name."""
    methods = import_module("mcoherence.optim.methods").METHODS
    if name == "METHODS":
        return methods
    for method, entry in methods.items():
        if entry.optimizer == name:
            return class_of(method)
    raise AttributeError(f"module 'mcoherence.optim' has no attribute {name!r}")
