"""A digest of the code that decides a module's numbers: its first-party import closure, less what decides none.

Snakemake sees the text of a rule's command and the time stamp of a script, but not the modules that a script imports.
A rule that carries this digest among its params re-runs when, and only when, code that it can reach changes. Import
lines are found in the syntax tree, inside functions too; a name imported through `importlib` is not seen.

Left out is:

- Layout: comments, formatting, docstrings.
- Operational modules, and what only they import. A module says that it is one by `OPERATIONAL = True`, its first
  statement after docstring and imports. It returns nothing that a number is made from, or hands on unchanged what it
  was given. The packages around it count, as they run too; so does the module that the digest is asked for.
- The text of errors and of help: strings and f-strings that are positional arguments of `raise X(...)`, or `help` and
  `description` of argparse's methods, or are joined to such an argument by `+`. Which error it is, when it is raised,
  and every argument that is no text, or that has a name, stay in. So does text that contains `:=`, `await` or `yield`,
  which does something besides being read, and the value of a StopIteration. The rule holds as long as no handler
  decides by the text of an error.
"""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from mcoherence.errors import UserError, first_line
from mcoherence.files.digests import short_digest
from mcoherence.study import known_sources
from mcoherence.study.known_sources import KnownSources, folder_of_user

OPERATIONAL = True  # no number depends on it; docs/reruns.md

MARK = "OPERATIONAL"
OPTION_METHODS = {"ArgumentParser", "add_argument", "add_argument_group", "add_parser", "add_subparsers"}
HELP = {"help", "description"}  # their keyword arguments that people read
VALUES = {"StopIteration", "StopAsyncIteration"}  # errors whose argument is no message
EFFECTS = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)  # inside text: it does more than being read


def code_digest(module: str, *roots: Path) -> str:
    """Hexadecimal digest of the first-party code that `module` reaches by its imports.

    Args:
        module: dotted name of the entry module, such as "workflow_scripts.train".
        roots: folders that hold the first-party packages, in the order of search; whatever is not below one of them is
            third-party and left out.
    """
    return digest_of_modules(module_digests(module, *roots))


def digest_of_modules(modules: Mapping[str, str]) -> str:
    """The `code_digest` of modules with these digests."""
    return short_digest("".join(f"{name} {of_module}\n" for name, of_module in sorted(modules.items())))


def module_digests(module: str, *roots: Path) -> dict[str, str]:
    """Module that `module` reaches, itself included -> hexadecimal digest of its code alone."""
    return SourceTree(*roots).module_digests(module)


def module_digest(module: str, *roots: Path) -> str | None:
    """Hexadecimal digest of the code of a module alone; None where it decides no number, or is not below the roots."""
    file = source_file(module, *roots)
    return None if file is None or _read(file).operational else _read(file).digest


def digest_of_source(source: bytes) -> str:
    """Hexadecimal digest of the code of one module, by the bytes of its file; SyntaxError if they are no Python."""
    return _walk(ast.parse(source))[0]


def package_digests(package: str, root: Path) -> dict[str, str]:
    """The `module_digests` of all modules below a package's folder together: of what is found by its place alone."""
    return SourceTree(root).package_digests(package)


def package_digest(module: str, root: Path) -> str:
    """As `code_digest`, of the module's own package alone, whatever else is installed below `root`."""
    own = SourceTree(root).closure(module, module.partition(".")[0])
    return digest_of_modules({name: _read(file).digest for name, file in own.items()})


def import_closure(module: str, *roots: Path) -> set[str]:
    """Dotted names of the first-party modules that `module` reaches, itself and all packages around them included.

    Operational modules are passed over, and what only they reach.
    """
    return set(SourceTree(*roots).closure(module))


def keep_what_was_read() -> None:
    """Keep what was read off source files for later starts, which then need not parse them.

    Not where the code that reads them was edited since it was imported: it would be taken for what the new code reads.
    """
    if _own_code() == OWN_CODE:
        _known().keep()


class SourceTree:
    """The first-party modules below some folders, each looked for and read once: as they were when first asked for.

    Args:
        roots: folders that hold the first-party packages, in the order of search.
    """

    def __init__(self, *roots: Path) -> None:
        """Nothing is looked at yet."""
        self._roots = roots
        self._modules: dict[str, _Module | None] = {}

    def module_digests(self, module: str) -> dict[str, str]:
        """Module that `module` reaches, itself included -> hexadecimal digest of its code alone."""
        return {name: found.source.digest for name in self.closure(module) if (found := self._module(name))}

    def package_digests(self, package: str) -> dict[str, str]:
        """The `module_digests` of all modules below a package's folder together."""
        folder = self._roots[0].joinpath(*package.split("."))
        files = (file.relative_to(folder) for file in sorted(folder.rglob("*.py")) if file != folder / "__init__.py")
        names = [".".join((package, *file.with_suffix("").parts)).removesuffix(".__init__") for file in files]
        return {module: digest for name in names for module, digest in self.module_digests(name).items()}

    def closure(self, module: str, package: str = "") -> dict[str, Path]:
        """The modules of the import closure, with their files; those of one package where it is named."""
        reached: dict[str, Path] = {}
        waiting = [module]
        while waiting:
            name = waiting.pop()
            if name in reached or (found := self._module(name)) is None:
                continue
            waiting += [name.rpartition(".")[0]] if "." in name else []
            if found.source.operational and name != module:
                continue
            reached[name] = found.file
            waiting += [imported for imported in found.imports if package in ("", imported.partition(".")[0])]
        return reached

    def _module(self, name: str) -> "_Module | None":
        if name not in self._modules:
            file = source_file(name, *self._roots)
            self._modules[name] = None if file is None else self._read_module(name, file)
        return self._modules[name]

    def _read_module(self, name: str, file: Path) -> "_Module":
        source = _read(file)
        # most imports are of libraries; nothing below those is looked for
        imports = {one for one in source.imports(name) if one.partition(".")[0] in self._outermost}
        return _Module(file, source, tuple(sorted(imports)))

    @cached_property
    def _outermost(self) -> frozenset[str]:
        return frozenset[str]().union(*(_names_below(root, root.stat().st_mtime_ns) for root in self._roots))


@cache
def _names_below(root: Path, _modified: int) -> frozenset[str]:
    return frozenset(entry.stem for entry in root.iterdir())


def source_file(module: str, *roots: Path) -> Path | None:
    """The source file of a first-party module or package, or None."""
    for path in (root.joinpath(*module.split(".")) for root in roots):
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


@dataclass(frozen=True)
class _Source:
    """One source file, read: the digest of its syntax, and what its import lines name.

    digest: of the syntax tree without docstrings and messages; the same under every Python that can parse the file.
    absolute: dotted names, for `from a import b` both a and a.b, since b can be a module.
    relative: (number of leading dots, dotted name or "", imported name) of `from ..a import b`.
    """

    is_package: bool
    operational: bool
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


@dataclass(frozen=True)
class _Module:
    """A module of a tree: its file, what was read off it, and which modules of the tree it may import."""

    file: Path
    source: _Source
    imports: tuple[str, ...]


def _read(file: Path) -> _Source:
    """The file, read once while it does not change: the trees of a process share most of their modules."""
    return _read_version(file, file.stat().st_mtime_ns)


@cache
def _read_version(file: Path, _modified: int) -> _Source:
    content = file.read_bytes()
    is_package = file.name == "__init__.py"
    if (known := _known().of(content)) is not None:
        operational, digest, absolute, relative = known
        return _Source(is_package, operational, digest, tuple(absolute), tuple(map(tuple, relative)))
    source = _parsed(file, content, is_package)
    _known().add(content, [source.operational, source.digest, source.absolute, source.relative])
    return source


@cache
def _known() -> KnownSources:
    return KnownSources(folder_of_user(), OWN_CODE)


def _own_code() -> bytes:
    return b"".join(Path(file).read_bytes() for file in (__file__, known_sources.__file__))


OWN_CODE = _own_code()  # as it runs, read where it is imported


def _parsed(file: Path, content: bytes, is_package: bool) -> _Source:
    tree = ast.parse(_text_of(file, content), filename=file.name)
    digest, imports = _walk(tree)
    absolute: list[str] = []
    relative: list[tuple[int, str, str]] = []
    for node in imports:
        if isinstance(node, ast.Import):
            absolute += [alias.name for alias in node.names]
        elif node.level:
            relative += [(node.level, node.module or "", alias.name) for alias in node.names]
        elif node.module:
            absolute += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return _Source(is_package, is_operational(tree), digest, tuple(absolute), tuple(relative))


def _text_of(file: Path, content: bytes) -> str:
    """The text of a source file: its bytes in UTF-8, or in the encoding that its first lines name, as Python has it.

    Raises:
        UserError: it is in another encoding, as only a module of the user's own is.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = content.decode(encoding)
    except (SyntaxError, UnicodeError, LookupError) as error:
        raise UserError(
            f"{file}: found {_not_decoded(content, error)}, expected UTF-8, or an encoding that its first line names "
            "as `# -*- coding: latin-1 -*-` does; save it as UTF-8 without such a line, or name there what it is in"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UserError(f"{file}: found a zero byte in line {line}, expected text, as Python reads it; mend the file")
    return text


def _not_decoded(content: bytes, error: Exception) -> str:
    """What in a source file Python cannot decode: the first byte that is no UTF-8, or the encoding that is named."""
    try:
        content.decode()
    except UnicodeDecodeError as stray:
        line = content[: stray.start].count(b"\n") + 1
        return f"the byte 0x{content[stray.start]:02x} in line {line}, which is no UTF-8"
    return f"an encoding named in which Python cannot read it ({first_line(error)})"


def _walk(tree: ast.Module) -> tuple[str, list[ast.Import | ast.ImportFrom]]:
    """Digest of a syntax tree, and its import lines; in one walk, for every start of a study reads all modules."""
    tokens: list[str] = []
    imports: list[ast.Import | ast.ImportFrom] = []
    _append_tokens(tree, set(), tokens, imports)
    tokens.append("")  # each token ends its line
    return hashlib.sha256("\n".join(tokens).encode()).hexdigest(), imports


def is_operational(tree: ast.Module) -> bool:
    """Whether a module is marked: its first statement after docstring and imports is `OPERATIONAL = True`."""
    own = (one for one in tree.body if not (isinstance(one, ast.Import | ast.ImportFrom) or _is_docstring(tree, one)))
    first = next(own, None)
    return isinstance(first, ast.Assign) and ast.unparse(first) == f"{MARK} = True"


def _messages(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions below a statement or a call that are its text of an error or of help."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        if _last_name(node.exc.func) not in VALUES:
            for argument in node.exc.args:
                yield from _texts(argument)
    elif isinstance(node, ast.Call) and _last_name(node.func) in OPTION_METHODS:
        for keyword in node.keywords:
            if keyword.arg in HELP:
                yield from _texts(keyword.value)


def _texts(expression: ast.expr) -> Iterator[ast.expr]:
    """The expression where it is text, or the parts of a sum that are."""
    if _is_text(expression):
        yield expression
    elif isinstance(expression, ast.BinOp) and isinstance(expression.op, ast.Add):
        yield from _texts(expression.left)
        yield from _texts(expression.right)


def _is_text(expression: ast.expr) -> bool:
    """Whether an expression is a string, an f-string or a sum of such, and does nothing besides."""
    if isinstance(expression, ast.BinOp) and isinstance(expression.op, ast.Add):
        return _is_text(expression.left) and _is_text(expression.right)
    if isinstance(expression, ast.Constant):
        return isinstance(expression.value, str)
    return isinstance(expression, ast.JoinedStr) and not any(isinstance(node, EFFECTS) for node in ast.walk(expression))


def _last_name(function: ast.expr) -> str | None:
    """`c` of the called `a.b.c`, or of `c`; None of anything else."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else None


def _append_tokens(
    node: ast.AST, messages: set[ast.AST], tokens: list[str], imports: list[ast.Import | ast.ImportFrom]
) -> None:
    """Append the tree as text. Empty fields are left out, because newer Pythons add empty fields to old nodes.

    Args:
        node: the tree.
        messages: those found in the nodes above; those below this one are added.
        tokens: what is appended to.
        imports: import lines are appended to it.
    """
    if node in messages:
        tokens.append("message")
        return
    if isinstance(node, ast.Raise | ast.Call):
        messages.update(_messages(node))
    elif isinstance(node, ast.Import | ast.ImportFrom):
        imports.append(node)
    tokens.append(type(node).__name__)
    for field in node._fields:
        value = getattr(node, field, None)
        if value is None:
            continue
        if not isinstance(value, list):
            tokens.append(f".{field}")
            if isinstance(value, ast.AST):
                _append_tokens(value, messages, tokens, imports)
            else:
                tokens.append(repr(value))
            continue
        values = value[1:] if field == "body" and value and _is_docstring(node, value[0]) else value
        if all(one is None for one in values):
            continue
        tokens.append(f".{field}")
        for one in values:
            if isinstance(one, ast.AST):
                _append_tokens(one, messages, tokens, imports)
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
