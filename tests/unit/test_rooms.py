"""The rooms of the library: what each may import, what stands in its __init__, and the picture of them all."""

import ast
import re
import subprocess
import sys
from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "mcoherence"
# From the top. Modules that stand in no folder are rooms of one module.
ROOMS = (
    "command", "audit", "front_page", "figures", "claims", "monitoring", "tables", "measuring", "training", "study",
    "models", "gradients", "optim", "data", "files", "device", "precision", "parameter_names", "coherence",
    "own_functions", "errors",
)  # fmt: skip
# Folders within a room, from the top; "" is the room's own modules.
INNER_ROOMS = {"gradients": ("", "sweep", "checks", "batch", "graph", "given", "layer_rules")}
PLACE = {room: index for index, room in enumerate(ROOMS)}
FOLDERS = tuple(room for room in ROOMS if (LIBRARY / room).is_dir())
HEAVY = {"h5py", "matplotlib", "numpy", "pandas", "PIL", "pyarrow", "safetensors", "scipy", "sklearn", "torch"}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    return module.split(".")[1]


FILES = {module_of(path): path for path in sorted(LIBRARY.rglob("*.py"))}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in FILES.items()}


def imported(tree: ast.AST, modules: Collection[str]) -> set[str]:
    """Which of the `modules` the import lines of a file name, those inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an import line without the whole path of what it imports"
            assert node.module is not None
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in modules else node.module for name in below}
    return names & set(modules)


IN_ROOMS = FILES.keys() - {"mcoherence", "mcoherence.__main__"}
IMPORTS = {module: imported(TREES[module], IN_ROOMS) for module in sorted(IN_ROOMS)}
IMPORT_LINES = [(module, other) for module, others in IMPORTS.items() for other in sorted(others)]
ARROWS = {(room_of(a), room_of(b)) for a, b in IMPORT_LINES if room_of(a) != room_of(b)}


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Modules of which each imports the next and the last is the first; none where there is no such circle."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def picture_of(arrows: set[tuple[str, str]]) -> str:
    """The chart for a reader, without arrows that follow from others."""
    direct = nx.transitive_reduction(nx.DiGraph(sorted(arrows)))
    edges = sorted(direct.edges, key=lambda edge: [PLACE[room] for room in edge])
    return "```mermaid\nflowchart TD\n" + "".join(f"  {a} --> {b}\n" for a, b in edges) + "```\n"


def test_every_module_of_the_library_is_in_a_room():
    assert {room_of(module) for module in IN_ROOMS} == set(ROOMS)


def test_imports_point_down():
    up = [f"{a} imports {b}" for a, b in IMPORT_LINES if PLACE[room_of(a)] > PLACE[room_of(b)]]
    assert up == []


@pytest.mark.parametrize("room", INNER_ROOMS)
def test_imports_between_folders_of_a_room_point_down(room):
    def folder_of(module: str) -> str:
        parts = module.removesuffix(".__init__").split(".")[2:]
        return parts[0] if (LIBRARY / room / parts[0]).is_dir() else ""

    within = [(a, b) for a, b in IMPORT_LINES if room_of(a) == room_of(b) == room and b != f"mcoherence.{room}"]
    place = {folder: index for index, folder in enumerate(INNER_ROOMS[room])}
    assert {folder_of(module) for pair in within for module in pair} == set(place)
    assert [f"{a} imports {b}" for a, b in within if place[folder_of(a)] > place[folder_of(b)]] == []


def test_no_modules_import_each_other_in_a_circle():
    assert " -> ".join(circle(IMPORTS)) == ""


def test_imports_are_read_inside_functions_and_circles_are_found():
    late = ast.parse("import a.x\nfrom a import y, z\ndef f():\n    from b import t\n    from c.u import v\n")
    assert imported(late, {"a", "a.x", "a.y", "b", "b.t", "c.u"}) == {"a.x", "a.y", "a", "b.t", "c.u"}
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == {"b", "c"}
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []


def is_lazy(package: str) -> bool:
    """Whether the package imports names on first use."""
    return any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in TREES[package].body)


@pytest.mark.parametrize("package", [module for module, path in FILES.items() if path.name == "__init__.py"])
def test_an_init_holds_a_docstring_or_exports_on_first_use(package):
    tree = TREES[package]
    assert ast.get_docstring(tree), "a room says what it is for"
    assert {type(node) for node in tree.body[1:]} <= {ast.ImportFrom, ast.Assign, ast.FunctionDef}
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    names = {ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)}
    assert functions <= {"__getattr__", "__dir__"}
    assert names <= {"__all__", "_EXPORTS", "__version__"}
    assert imported(tree, IN_ROOMS) == set(), "whoever imports a module of the room would depend on these too"


def test_no_module_takes_from_a_package_what_that_imports_on_first_use():
    # The digest of a module's code sees import lines, and none leads from the package to where the name is from.
    lazy = {module for module, path in FILES.items() if path.name == "__init__.py" and is_lazy(module)}
    assert "mcoherence" in lazy
    taken = [
        f"{module}: from {node.module} import {alias.name}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in lazy
        for alias in node.names
        if f"{node.module}.{alias.name}" not in FILES
    ]
    assert taken == []


def loaded_by(lines: list[str]) -> set[str]:
    """The outermost packages that a fresh interpreter has loaded after these lines."""
    code = "\n".join([*lines, "import sys", "print(*sorted({name.partition('.')[0] for name in sys.modules}))"])
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def test_the_room_study_loads_nothing_heavy():
    loaded = loaded_by([f"import {module}" for module in IN_ROOMS if room_of(module) == "study"])
    assert "mcoherence" in loaded
    assert HEAVY & loaded == set()


def test_what_the_rules_import_of_the_library_loads_nothing_heavy():
    # Snakemake itself loads NumPy and pandas, so the imports are made without it.
    files = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
    lines = re.findall(r"^from mcoherence.* import .*$", "\n".join(file.read_text() for file in files), re.MULTILINE)
    loaded = loaded_by(lines)
    assert "mcoherence" in loaded
    assert HEAVY & loaded == set()


def test_unit_tests_lie_in_the_rooms_of_the_library():
    folders = {path.name for path in (ROOT / "tests/unit").iterdir() if list(path.glob("test_*.py"))}
    assert set(FOLDERS) <= folders
    assert all((ROOT / folder).is_dir() for folder in folders - set(FOLDERS))  # docs/, workflow_scripts/


def test_the_picture_leaves_out_what_follows():
    arrows = {("audit", "study"), ("study", "data"), ("audit", "data"), ("data", "errors"), ("audit", "errors")}
    assert picture_of(arrows) == (
        "```mermaid\nflowchart TD\n  audit --> study\n  study --> data\n  data --> errors\n```\n"
    )


def test_the_page_on_architecture_names_the_rooms_and_shows_how_they_stand():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^- `(\w+)/?`: ", page, re.MULTILINE)) == ROOMS
    found = re.search(r"<!-- rooms: .*? -->\n(.*)<!-- /rooms -->", page, re.DOTALL)
    assert found is not None
    assert found[1] == picture_of(ARROWS), f"docs/architecture.md: the picture is now\n{picture_of(ARROWS)}"
