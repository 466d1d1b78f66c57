"""Networks that keep the examples of a batch apart whatever the batch is: chains of torch's own layers.

What each of these layers computes of an example in eval mode is known, and a chain has no other code. So an example
comes out as it would in any other batch, but for rounding. Of a network with a forward method of its own that cannot be
known: what it does to one batch says nothing of the next.
"""

import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mcoherence.gradients.batch.layers import has_global_hooks, has_hooks

_ANY = (
    *(nn.Sequential, nn.Identity),
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Tanhshrink, nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink),
    *(nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Threshold),
)


def _in_eval_mode(layer: Any) -> bool:
    return not layer.training


def _by_running_statistics(layer: Any) -> bool:
    return not layer.training and layer.running_mean is not None and layer.running_var is not None


def _along_later_axes(name: str) -> Callable[[Any], bool]:
    def is_along(layer: Any) -> bool:
        axis = getattr(layer, name)
        return isinstance(axis, int) and axis >= 1  # counted from the end it may be that of the examples

    return is_along


# What has to be so of a layer of the type.
_CONDITIONS: dict[type[nn.Module], Callable[[Any], bool]] = {
    **dict.fromkeys(_ANY, lambda layer: True),
    **dict.fromkeys((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout), _in_eval_mode),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _by_running_statistics),
    **dict.fromkeys((nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU, nn.Unflatten), _along_later_axes("dim")),
    nn.Flatten: _along_later_axes("start_dim"),
    # The first writes to the table as it reads it, and the second divides by how often a row is in the batch.
    nn.Embedding: lambda layer: layer.max_norm is None and not layer.scale_grad_by_freq and not layer.sparse,
}


def is_example_wise(model: nn.Module) -> bool:
    """Whether a model is a chain of torch's own layers that each keep the examples of a batch apart, in eval mode.

    Subclasses are others, and so are layers with hooks, with parametrisations, with a method that was replaced, and
    with parameters of a type of their own.

    Example:
        >>> is_example_wise(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
        True
        >>> is_example_wise(nn.Sequential(nn.Linear(2, 3), nn.Softmax(dim=0)))
        False
    """
    plain = all(map(_is_plain, model.modules())) and _are_plain(model.parameters())
    return plain and not has_hooks(model) and _is_torchs_own(model)


def layer_settings(model: nn.Module) -> list[Any]:
    """Which layers a model has, what each of them keeps besides tensors, and how many hooks; to be compared.

    What is no number, text or short list of these counts by its identity: what layers of torch compute by is none of
    it, and what a user keeps on a layer may be long.
    """
    found: list[Any] = [has_global_hooks()]
    for layer in model.modules():
        found += [id(layer), type(layer)]
        for value in vars(layer).values():
            kind = type(value)
            if kind in _USUAL:  # most values; this is asked in every batch
                found.append(value)
            elif isinstance(value, dict):
                found.append(len(value))
            elif not isinstance(value, Tensor):  # no layer computes by one that is no parameter or buffer
                parts = value if kind in (tuple, list) and len(value) <= _LONGEST_SETTING else (value,)
                plain = all(part is None or isinstance(part, _NUMBERS_AND_TEXTS) for part in parts)
                found.append(tuple(parts) if plain else id(value))
    return found


_LONGEST_SETTING = 16  # of those of torch's layers: paddings of three axes are 6 numbers, slices of an Unflatten a few
_TENSORS = ("weight", "bias", "running_mean", "running_var")  # that layers compute by
_NUMBERS_AND_TEXTS = (bool, int, float, complex, str, np.generic)
_USUAL = {bool, int, float, str, type(None)}


def _is_plain(layer: nn.Module) -> bool:
    condition = _CONDITIONS.get(type(layer))
    if condition is None or not _are_plain(layer.buffers()) or not condition(layer):
        return False
    own = vars(layer)
    replaced = any(callable(value) and hasattr(type(layer), name) for name, value in own.items())
    return not replaced and not any(isinstance(own.get(name), Tensor) for name in _TENSORS)


def _are_plain(tensors: Iterable[Tensor]) -> bool:
    return all(type(tensor) in (Tensor, nn.Parameter) for tensor in tensors)


def _functions(owner: Any) -> dict[str, Any]:
    """The functions that a module or class has, by name; less those that make layers: torch.compile replaces them."""
    kinds, makers = (types.FunctionType, types.BuiltinFunctionType), ("__init__", "__setstate__")
    return {name: one for name, one in vars(owner).items() if isinstance(one, kinds) and name not in makers}


def _is_torchs(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is None or code.co_filename.startswith(_FOLDER)


# What the layers call, before anybody could replace it but those who did so before this was imported, by code that does
# not lie in torch's folder.
_FOLDER = str(Path(torch.__file__).parent)
_CLASSES = {base for one in _CONDITIONS for base in one.__mro__ if issubclass(base, nn.Module)}
_CALLED = {owner: _functions(owner) for owner in (nn.functional, *_CLASSES)}
_REPLACED_BEFORE = not all(_is_torchs(one) for functions in _CALLED.values() for one in functions.values())


def _is_torchs_own(model: nn.Module) -> bool:
    """Whether nothing that the layers of a model call was replaced."""
    owners = {nn.functional, *(base for one in {*map(type, model.modules())} for base in one.__mro__)}
    known = [(vars(owner), _CALLED[owner]) for owner in owners if owner in _CALLED]
    return not _REPLACED_BEFORE and all(
        now.get(name) is one for now, functions in known for name, one in functions.items()
    )
