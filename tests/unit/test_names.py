"""No two public things of the library bear one name: a reader who meets it anywhere knows which is meant."""

import ast
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "mcoherence").rglob("*.py"))
}
# name -> (the room whose modules have one each, why)
ONE_A_MODULE = {
    "open_source": ("data", "every module of a source opens its own; `sources.source` finds it by the module's name"),
    "grids": ("study", "every experiment has its runs; the catalogue finds the experiments by their modules"),
    "check": ("study", "every experiment checks its section"),
    "table": ("tables", "every module of a table makes its own; the command finds it by the table's name"),
    "add_options": ("command", "every command of the command line has its own; `main.parser` asks each"),
    "run": ("command", "every command of the command line runs; `main` calls the one that was chosen"),
    "draw": ("figures", "every module of a figure draws its own; the command finds it by the figure's name"),
}


def doubled(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """{public name: the modules} of the classes and functions that two or more modules define at their top level."""
    homes: dict[str, list[str]] = {}
    for module, text in sources.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    return {name: modules for name, modules in homes.items() if len(set(modules)) > 1}


def is_one_a_module(name: str, modules: list[str]) -> bool:
    room, _ = ONE_A_MODULE.get(name, (None, None))
    return all(module.split(".")[1] == room for module in modules)


def left() -> dict[str, list[str]]:
    return {name: modules for name, modules in doubled(SOURCES).items() if not is_one_a_module(name, modules)}


def test_no_two_public_classes_or_functions_bear_one_name():
    found = left()
    assert not found, "\n".join(f"{name}: in {', '.join(modules)}; rename one" for name, modules in found.items())


def test_doubles_are_found_at_the_top_level_of_modules_and_nowhere_else():
    overloads = "@overload\ndef twice(): ...\n@overload\ndef twice(x): ...\n"
    sources = {
        "library.a.one": "class Same:\n    def method(self): ...\n" + overloads,
        "library.b.two": "def Same():\n    def method(): ...\ndef _private(): ...",
        "library.c.three": "from library.a.one import twice\ndef _private(): ...\nmethod = 1",
    }
    assert doubled(sources) == {"Same": ["library.a.one", "library.b.two"]}


def test_one_a_module_holds_within_its_room_only():
    assert is_one_a_module("open_source", ["mcoherence.data.digits", "mcoherence.data.glyphs"])
    assert not is_one_a_module("open_source", ["mcoherence.data.digits", "mcoherence.models.build"])
    assert not is_one_a_module("anything", ["mcoherence.data.digits", "mcoherence.data.glyphs"])
