"""A user's own network, "module:function". Where its code is looked for, see `mcoherence.study.network_code`."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from mcoherence.errors import UserError
from mcoherence.own_functions import own_function


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
    options = dict(options or {})
    name, function = architecture.partition(":")[2], own_function(architecture)
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
