"""Functions of a user's own that a setting or an option names, "module:function"."""

import re
from importlib import import_module
from typing import Any

from mcoherence.errors import UserError, meant, printable

NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def own_function(name: str) -> Any:
    """What a module has under a name: a function mostly, or a class, or any other thing that stands there.

    The module is imported as Python finds it, first in the working directory where that is in `sys.path`. Whatever
    else it raises while it is imported is an error in the user's code and keeps its traceback.

    Args:
        name: "module:function", such as "torchvision.models:resnet18".

    Raises:
        UserError: the name is not of this form, there is no such module or nothing of that name in it, or it is not
            valid Python.

    Example:
        >>> own_function("math:hypot")(3, 4)
        5.0
    """
    if not NAME.fullmatch(name):
        raise UserError(f"found {name!r}, expected module:function, such as my_networks:wide_mlp")
    module, _, attribute = name.partition(":")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # something else that the user's module imports
        raise UserError(
            f"{name}: found no module {error.name!r}, expected one in the working directory or an installed "
            "one; run where the file lies, or add its folder to PYTHONPATH"
        ) from error
    except SyntaxError as error:  # of it, or of what it imports
        place = module if error.filename is None else f"{error.filename}, line {error.lineno}"
        raise UserError(
            f"{name}: found code that is not valid Python ({place}: {printable(str(error.msg))}), expected some that "
            "is; mend it"
        ) from error
    if not hasattr(found, attribute):
        raise UserError(
            f"{name}: found no {attribute!r} in the module{meant(attribute, dir(found))}, expected a function of that "
            "name"
        )
    return getattr(found, attribute)
