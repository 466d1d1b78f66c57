"""A digest of the code that a module depends on: its first-party import closure, without comments and formatting.

Snakemake sees the text of a rule's command and the time stamp of a script, but not the modules that a script imports.
A rule that carries this digest among its params re-runs when, and only when, code that it can reach changes. Import
lines are found in the syntax tree, inside functions too; a name imported through `importlib` is not seen.
"""

import ast
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


def code_digest(module: str, root: Path) -> str:
    """Hexadecimal digest of the first-party code that `module` reaches by its imports.

    Args:
        module: dotted name of the entry module, such as "workflow_scripts.train".
        root: folder that holds the first-party packages; whatever is not below it is third-party and left out.
    """
    return digest_of(module_digests(module, root))


def digest_of(modules: Mapping[str, str]) -> str:
    """The `code_digest` of modules with these digests."""
    digest = hashlib.sha256()
    for name, of_module in sorted(modules.items()):
        digest.update(f"{name} {of_module}\n".encode())
    return digest.hexdigest()[:16]


def module_digests(module: str, root: Path) -> dict[str, str]:
    """Module that `module` reaches, itself included -> hexadecimal digest of its code alone."""
    return {name: _read(file).digest for name, file in _closure(module, root).items()}


def package_digests(package: str, root: Path) -> dict[str, str]:
    """The `module_digests` of all modules of a package's folder together: of what is found by its place alone."""
    files = sorted(root.joinpath(*package.split(".")).glob("*.py"))
    names = [f"{package}.{file.stem}" for file in files if file.stem != "__init__"]
    return {module: digest for name in names for module, digest in module_digests(name, root).items()}


def import_closure(module: str, root: Path) -> set[str]:
    """Dotted names of the first-party modules that `module` reaches, itself and all packages around them included."""
    return set(_closure(module, root))


def _closure(module: str, root: Path) -> dict[str, Path]:
    """The modules of the import closure, with their files."""
    reached: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        file = _file_of(name, root)
        if file is None:
            continue
        reached[name] = file
        waiting += [name.rpartition(".")[0]] if "." in name else []
        # most imports are of libraries; nothing below those is looked for
        waiting += [imported for imported in _read(file).imports(name) if _is_below(imported, root)]
    return reached


def _is_below(module: str, root: Path) -> bool:
    """Whether the module's outermost package, or the module itself, may be below `root`."""
    return module.partition(".")[0] in _names_below(root, root.stat().st_mtime_ns)


@cache
def _names_below(root: Path, _modified: int) -> frozenset[str]:
    return frozenset(entry.stem for entry in root.iterdir())


def _file_of(module: str, root: Path) -> Path | None:
    """The source file of a first-party module or package, or None."""
    path = root.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


@dataclass(frozen=True)
class _Source:
    """One source file, read: the digest of its syntax, and what its import lines name.

    digest: of the syntax tree without docstrings; the same under every Python that can parse the file.
    absolute: dotted names, for `from a import b` both a and a.b, since b can be a module.
    relative: (number of leading dots, dotted name or "", imported name) of `from ..a import b`.
    """

    is_package: bool
    digest: str
    absolute: tuple[str, ...]
    relative: tuple[tuple[int, str, str], ...]

    def imports(self, module: str) -> list[str]:
        """Dotted names that the file may import, when it is the module of this name."""
        package = module if self.is_package else module.rpartition(".")[0]
        names = list(self.absolute)
        for level, base, name in self.relative:
            above = package.split(".")[: len(package.split(".")) - level + 1]
            origin = ".".join([*above, base] if base else above)
            names += [origin, f"{origin}.{name}"]
        return names


def _read(file: Path) -> _Source:
    """The file, read once while it does not change: the closures of a study's rules share most of their modules."""
    return _read_version(file, file.stat().st_mtime_ns)


@cache
def _read_version(file: Path, _modified: int) -> _Source:
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=file.name)
    absolute: list[str] = []
    relative: list[tuple[int, str, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            absolute += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            relative += [(node.level, node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            absolute += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    tokens: list[str] = []
    _append_tokens(tree, tokens)
    digest = hashlib.sha256("".join(f"{token}\n" for token in tokens).encode()).hexdigest()
    return _Source(file.name == "__init__.py", digest, tuple(absolute), tuple(relative))


def _append_tokens(node: ast.AST, tokens: list[str]) -> None:
    """Append the tree as text. Empty fields are left out, because newer Pythons add empty fields to old nodes."""
    tokens.append(type(node).__name__)
    for field in node._fields:
        value = getattr(node, field, None)
        values = value if isinstance(value, list) else [value]
        if field == "body" and values and _is_docstring(node, values[0]):
            values = values[1:]
        if all(one is None for one in values):
            continue
        tokens.append(f".{field}")
        for one in values:
            if isinstance(one, ast.AST):
                _append_tokens(one, tokens)
            else:
                tokens.append(repr(one))
    tokens.append("end")


def _is_docstring(owner: ast.AST, statement: object) -> bool:
    return (
        isinstance(owner, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
