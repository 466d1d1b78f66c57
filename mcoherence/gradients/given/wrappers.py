"""Wrappers around a model (data parallel, compiled, averaged): what is measured is the model itself, by its own names.

A wrapper computes what its model does, but synchronises, compiles or scatters. Only a module of one of these types is
taken off; an attribute that happens to be called `module` is left alone.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from mcoherence.parameter_names import COMPILED, MODULE


def unwrapped(model: nn.Module) -> nn.Module:
    """The model without the wrappers around it."""
    while (inner := _inner(model)) is not None:
        model = model.get_submodule(inner)
    return model


@contextmanager
def uncompiled() -> Iterator[None]:
    """Modules that are compiled within a model run as they were written inside the block.

    `model.compile()` leaves no wrapper to take off, and every hook and every mode of a pass would be compiled anew.
    """
    if "torch._dynamo" not in sys.modules:  # nothing was compiled, and importing it takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def plain_names(model: nn.Module) -> dict[str, str]:
    """{qualified name of a parameter: the same without `module.` and `_orig_mod.` of wrappers within the model}.

    Tied parameters are there by each of their names.
    """
    prefixes = {
        f"{name}.{inner}.".lstrip("."): f"{name}.".lstrip(".")
        for name, module in model.named_modules(remove_duplicate=False)
        if (inner := _inner(module)) is not None
    }
    names = {}
    for name, _ in model.named_parameters(remove_duplicate=False):
        plain = name
        for prefix, without in sorted(prefixes.items(), key=lambda one: -len(one[0])):  # inner ones first
            if plain.startswith(prefix):
                plain = without + plain[len(prefix) :]
        names[name] = plain
    return names


def _inner(module: nn.Module) -> str | None:
    """The name that the wrapped model has in a wrapper; None where the module is none."""
    if isinstance(module, DataParallel | DistributedDataParallel | AveragedModel):
        return MODULE
    compiled = type(module).__name__ == "OptimizedModule" and COMPILED in module._modules
    return COMPILED if compiled else None


def is_sharded(model: nn.Module) -> list[str]:
    """What of a model is held in parts by several processes: names of its FSDP modules, or of its sharded parameters.

    Told by the names of types, so that torch.distributed need not be imported.
    """
    modules = [
        f"{name or 'the model'} ({kind})"
        for name, module in model.named_modules()
        for kind in {t.__name__ for t in type(module).__mro__} & {"FullyShardedDataParallel", "FSDPModule"}
    ]
    parameters = [
        f"{name} ({type(p.data).__name__ if type(p) is nn.Parameter else type(p).__name__})"
        for name, p in model.named_parameters()
        if "DTensor" in {type(p).__name__, type(p.data).__name__} or hasattr(p, "ds_id")
    ]
    return modules + parameters
