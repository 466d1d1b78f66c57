"""Which code a user's own network, "module:function", consists of; read at parse time, so nothing is imported.

A module of the user's is looked for as a job's Python does it: in the working directory, then in the repository. Its
code, and that of the user's modules and of this project's that it imports, becomes part of the model's settings: an
edit retrains the runs of this model and no others. A module that is installed counts as a library, like torch, whose
versions retrain nothing by themselves.
"""

import ast
import re
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from mcoherence.errors import UserError, meant
from mcoherence.study.code_digest import digest_of_modules, module_digests, source_file

WRITERS = frozenset({"globals", "exec", "setattr", "vars"})  # by which a module may get names that nobody reads in it
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
            _require_name(architecture, folders)
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


def _require_name(architecture: str, folders: Sequence[Path] | None) -> None:
    """UserError where a module of the user's plainly has nothing of the function's name; read, not run."""
    module, _, name = architecture.partition(":")
    file = source_file(module, *(folders or (Path.cwd(), REPOSITORY)))
    names = None if file is None else _names_in(ast.parse(file.read_bytes()))
    if names is not None and name not in names:
        raise UserError(
            f"found {architecture!r}, but nothing called {name} in {file}{meant(name, names)}; expected a function of "
            "that name; write it there, or name another"
        )


def _names_in(tree: ast.Module) -> set[str] | None:
    """The names that a module gives anything, in any block; None where it may have more than can be read off it."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    by_itself = {"*", "__getattr__"} & names or any(
        isinstance(node, ast.Name) and node.id in WRITERS for node in ast.walk(tree)
    )
    return None if by_itself else names


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
