"""Which code a user's own network, "module:function", consists of; read at parse time, so nothing is imported.

A module of the user's is looked for as a job's Python does it: in the working directory, then in the repository. Its
code, and that of the user's modules and of this project's that it imports, becomes part of the model's settings: an
edit retrains the runs of this model and no others. A module that is installed counts as a library, like torch, whose
versions retrain nothing by themselves.
"""

import re
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from mcoherence.errors import UserError
from mcoherence.study.code_digest import digest_of_modules, module_digests

REPOSITORY = Path(__file__).parents[2]


def network_code(architecture: str, folders: Sequence[Path] | None = None) -> str:
    """Digest of the code of "module:function" without comments and formatting; "installed" for an installed module.

    Args:
        architecture: "module:function".
        folders: where modules of the user's lie, in the order of search; None: working directory and repository.

    Raises:
        UserError: the name is not of this form, there is no such module, or it is not valid Python.
    """
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", architecture):
        raise UserError(f"found {architecture!r}, expected module:function, such as my_networks:wide_mlp")
    module = architecture.partition(":")[0]
    try:
        if modules := own_modules(architecture, folders):
            return digest_of_modules(modules)
    except SyntaxError as error:
        raise UserError(
            f"found {architecture!r}, whose code is not valid Python ({error.filename or module}, line "
            f"{error.lineno}: {error.msg}); mend it"
        ) from error
    if not _is_installed(module):
        raise UserError(
            f"found {architecture!r}, but no {module.replace('.', '/')}.py in the working directory and no installed "
            f"module {module}; expected either; put the file there, or install it"
        )
    return "installed"


def own_modules(architecture: str, folders: Sequence[Path] | None = None) -> dict[str, str]:
    """The modules of "module:function" and those that they import, with digests; none where it is installed."""
    return module_digests(architecture.partition(":")[0], *(folders or (Path.cwd(), REPOSITORY)))


def _is_installed(module: str) -> bool:
    """Whether Python finds the module; unlike `importlib.util.find_spec`, without importing the packages around it."""
    parts = module.split(".")
    folders = None
    for depth in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:depth]), folders)
        if spec is None:
            return False
        folders = spec.submodule_search_locations or []
    return True
