"""A user's own network, "module:function". Where its code is looked for, see `mcoherence.study.network_code`."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import nn

from mcoherence.errors import UserError


def own_network(
    architecture: str, input_shape: tuple[int, int, int], num_classes: int, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """What the user's function returns for (input_shape, num_classes, **options).

    Args:
        architecture: "module:function"; the module is imported as Python finds it, first in the working directory.
        input_shape: (C, H, W) of one image.
        num_classes: number of logits.
        options: further arguments of the function, by name.

    Raises:
        UserError: there is no such module or function, it does not take these arguments, or it returns no nn.Module.
    """
    module, _, name = architecture.partition(":")
    options = dict(options or {})
    try:
        function = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # something else that the user's module imports
        raise UserError(
            f"{architecture}: found no module {error.name!r}, expected one in the working directory or an installed "
            "one; run where the file lies, or add its folder to PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise UserError(f"{architecture}: found no {name!r} in the module, expected a function of that name") from error
    try:
        inspect.signature(function).bind(input_shape, num_classes, **options)
    except TypeError as error:
        raise UserError(
            f"{architecture}: found {name}(input_shape, num_classes{''.join(f', {key}=...' for key in options)}) to be "
            f"no valid call ({error}), expected options that are arguments of the function"
        ) from error
    model = function(input_shape, num_classes, **options)
    if not isinstance(model, nn.Module):
        raise UserError(f"{architecture}: found a {type(model).__name__}, expected it to return a torch.nn.Module")
    return model
