"""A digest of the code that a module depends on: its first-party import closure, without comments and formatting.

Snakemake sees the text of a rule's command and the time stamp of a script, but not the modules that a script imports.
A rule that carries this digest among its params re-runs when, and only when, code that it can reach changes. Import
lines are found in the syntax tree, inside functions too; a name imported through `importlib` is not seen.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path


def code_digest(module: str, root: Path) -> str:
    """Hexadecimal digest of the first-party code that `module` reaches by its imports.

    Args:
        module: dotted name of the entry module, such as "workflow_scripts.train".
        root: folder that holds the first-party packages; whatever is not below it is third-party and left out.
    """
    digest = hashlib.sha256()
    for name in sorted(import_closure(module, root)):
        digest.update(f"{name} {_syntax_digest(_file_of(name, root))}\n".encode())
    return digest.hexdigest()[:16]


def import_closure(module: str, root: Path) -> set[str]:
    """Dotted names of the first-party modules that `module` reaches, itself and all packages around them included."""
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in reached or _file_of(name, root) is None:
            continue
        reached.add(name)
        waiting += [name.rpartition(".")[0]] if "." in name else []
        waiting += _imported_names(_file_of(name, root), name)
    return reached


def _file_of(module: str, root: Path) -> Path | None:
    """The source file of a first-party module or package, or None."""
    path = root.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _imported_names(file: Path | None, module: str) -> list[str]:
    """Dotted names that a file may import: for `from a import b` both a and a.b, since b can be a module."""
    assert file is not None
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    names: list[str] = []
    for node in ast.walk(_tree(file, file.stat().st_mtime_ns)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names


@lru_cache
def _tree(file: Path, _modified: int) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=file.name)


def _syntax_digest(file: Path | None) -> str:
    """Digest of a file's syntax tree without docstrings; the same under every Python that can parse the file."""
    assert file is not None
    digest = hashlib.sha256()
    for token in _tokens(_tree(file, file.stat().st_mtime_ns)):
        digest.update(f"{token}\n".encode())
    return digest.hexdigest()


def _tokens(node: ast.AST) -> Iterator[str]:
    """The tree as text. Empty fields are left out, because newer Pythons add empty fields to old nodes."""
    yield type(node).__name__
    for field, value in ast.iter_fields(node):
        values = value if isinstance(value, list) else [value]
        if field == "body" and values and _is_docstring(node, values[0]):
            values = values[1:]
        if all(one is None for one in values):
            continue
        yield f".{field}"
        for one in values:
            if isinstance(one, ast.AST):
                yield from _tokens(one)
            else:
                yield repr(one)
    yield "end"


def _is_docstring(owner: ast.AST, statement: object) -> bool:
    return (
        isinstance(owner, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
