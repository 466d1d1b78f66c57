"""The messages of this project that advise something, read off its code.

A message is `found X, expected Y; the way out`: it advises something where a clause after a semicolon is an order to
the reader, or where it is such a clause, kept by itself. Texts of the command's help, of pages and of figures are none.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
FOLDERS = ("mcoherence", "workflow_scripts")
PAGES = (  # styles, what figures say, and pages for a reader
    "mcoherence/front_page/", "mcoherence/figures/", "mcoherence/claims/nulls.py",
    "mcoherence/claims/claim_reference.py", "mcoherence/study/config_reference.py",
    "mcoherence/tables/column_reference.py",
)  # fmt: skip
WORDS = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text())
ORDERS, STATEMENTS = (frozenset(WORDS[kind].split()) for kind in ("orders", "statements"))
FIELD = "{}"


@cache
def advice() -> dict[str, list[str]]:
    """Message, with {} for what is filled in -> the places in the code that have it, of all that advise something."""
    return {text: places for text, places in _texts().items() if _orders(text) or _is_an_order(text)}


@cache
def raised() -> dict[str, list[str]]:
    """Message with a semicolon -> the places in the code that raise it."""
    found: dict[str, list[str]] = {}
    for path in _modules():
        for node in ast.walk(_tree(path)):
            if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
                continue
            for argument in node.exc.args:
                text = _text(argument, _constants(path))
                if text and "; " in text:
                    found.setdefault(text, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def heads(text: str) -> list[str]:
    """The first words of the clauses after semicolons."""
    return [_first_word(part) for part in text.split("; ")[1:] if part.split() and not part.startswith(FIELD)]


def _first_word(clause: str) -> str:
    return re.split(r"[\s,.:()]", clause)[0]


def _cases(text: str) -> list[str]:
    """The first words of what follows a comma in a clause that names a case: of a restart, make a new monitor."""
    named = [part for part in text.split("; ")[1:] if part.startswith(("if ", "of ", "where "))]
    return [_first_word(part) for clause in named for part in clause.split(", ")[1:]]


def _orders(text: str) -> bool:
    after_a_colon = re.findall(r"; [^;]*: (\w+)", text)
    sentences = [word.lower() for word in re.findall(r"\. ([A-Z]\w+) ", text)]
    return any(word in ORDERS for word in [*heads(text), *_cases(text), *after_a_colon, *sentences]) or bool(
        re.search(r"[^{}:;( ].*; \{\}$", text)
    )


def _is_an_order(text: str) -> bool:
    """Whether a text is a way out by itself: several words, the first of them an order in lower case."""
    words = text.split(" ")
    return len(words) > 2 and words[0] in ORDERS and words[1] not in ("of", "above")


@cache
def _modules() -> tuple[Path, ...]:
    paths = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    return tuple(path for path in paths if not str(path.relative_to(ROOT)).startswith(PAGES))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def _texts() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in _modules():
        for line, text in _texts_of(path):
            found.setdefault(text, []).append(f"{path.relative_to(ROOT)}:{line}")
    for path in (ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))):  # not Python, so line by line
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for text in re.findall(r'"((?:[^"\\]|\\.)*)"', line.partition('"""')[0]):
                found.setdefault(re.sub(r"\{[^{}]*\}", FIELD, text), []).append(f"{path.relative_to(ROOT)}:{number}")
    return found


def _texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a module but for docstrings and the command's help."""
    tree = _tree(path)
    left_out: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for one in node.body:  # docstrings, of attributes too
                if isinstance(one, ast.Expr):
                    left_out.add(id(one.value))
        if isinstance(node, ast.JoinedStr):
            left_out |= {id(one) for one in ast.walk(node) if one is not node and isinstance(one, ast.Constant)}
        if isinstance(node, ast.Call):
            help_texts = [one.value for one in node.keywords if one.arg in ("help", "description", "epilog")]
            left_out |= {id(one) for text in help_texts for one in ast.walk(text)}
    for node in ast.walk(tree):
        if id(node) not in left_out and (text := _text(node, _constants(path))):
            yield node.lineno, text  # type: ignore[attr-defined]


def _text(node: ast.AST, constants: dict[str, str]) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return None
    parts = []
    for value in node.values:
        if isinstance(value, ast.Constant):
            parts.append(str(value.value))
        elif isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.Name):
            constant = constants.get(value.value.id)
            quoted = repr(constant) if value.conversion == ord("r") else constant
            parts.append(FIELD if constant is None else str(quoted))
        else:
            parts.append(FIELD)
    return "".join(parts)


@cache
def _constants(path: Path) -> dict[str, str]:
    """The texts that a module gives a name."""
    found: dict[str, str] = {}
    for node in _tree(path).body:
        named = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if named and (text := _text(node.value, found)):
            found[node.targets[0].id] = text
    return found
