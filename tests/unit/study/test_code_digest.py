"""The digest changes with the code that a module reaches, and with nothing else."""

import ast
from pathlib import Path

import pytest

from mcoherence.study.code_digest import code_digest, import_closure

ROOT = Path(__file__).parents[3]

SOURCES = {
    "library/__init__.py": '"""A package."""\n',
    "library/deep/__init__.py": "",
    "library/deep/leaf.py": 'LIMIT = 3\n\n\ndef double(x):\n    """Twice x."""\n    return 2 * x\n',
    "library/middle.py": "from .deep import leaf\n\n\ndef use():\n    return leaf.double(leaf.LIMIT)\n",
    "library/late.py": "def use():\n    import library.other\n    return library.other\n",
    "library/other.py": "VALUE = 1\n",
    "scripts/__init__.py": "",
    "scripts/entry.py": "import numpy\n\nfrom library.middle import use\n\nprint(use())\n",
    "scripts/second.py": "from library import late\n",
}


@pytest.fixture
def root(tmp_path):
    for name, text in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def edit(root, name, old, new):
    path = root / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_closure_follows_absolute_relative_and_late_imports(root):
    assert import_closure("scripts.entry", root) == {
        "scripts", "scripts.entry", "library", "library.middle", "library.deep", "library.deep.leaf",
    }  # fmt: skip
    assert "library.other" in import_closure("scripts.second", root)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("library/deep/leaf.py", "LIMIT = 3", "LIMIT = 4", id="constant-two-imports-away"),
        pytest.param("library/deep/leaf.py", "2 * x", "x * 2", id="order-of-operands"),
        pytest.param("library/__init__.py", '"""A package."""\n', "import library.other\n", id="package-around-it"),
        pytest.param("scripts/entry.py", "print(use())", "print(str(use()))", id="the-entry-itself"),
    ],
)
def test_code_that_is_reached_changes_the_digest(root, name, old, new):
    before = code_digest("scripts.entry", root)
    edit(root, name, old, new)
    assert code_digest("scripts.entry", root) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("library/deep/leaf.py", '"""Twice x."""', '"""Two times x."""', id="docstring"),
        pytest.param("library/deep/leaf.py", "LIMIT = 3", "# a limit\nLIMIT = 3  # three", id="comment"),
        pytest.param(
            "library/deep/leaf.py",
            "    return 2 * x",
            "    return (\n        2\n        * x\n    )",
            id="layout",
        ),
        pytest.param("library/other.py", "VALUE = 1", "VALUE = 2", id="code-that-is-not-reached"),
    ],
)
def test_anything_else_does_not(root, name, old, new):
    before = code_digest("scripts.entry", root)
    edit(root, name, old, new)
    assert code_digest("scripts.entry", root) == before


def test_a_docstring_in_the_middle_of_a_function_is_code(root):
    before = code_digest("scripts.entry", root)
    edit(root, "library/deep/leaf.py", '    """Twice x."""\n', '    """Twice x."""\n    "not a docstring"\n')
    assert code_digest("scripts.entry", root) != before


def names_in(package):
    """The names that the `__init__` of a package binds by lines that a digest sees."""
    tree = ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text())
    bound = {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    bound |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return bound | {one.id for node in tree.body for one in ast.walk(node) if isinstance(one, ast.Name)}


def test_the_project_itself_imports_from_modules_and_not_what_packages_export():
    """What a package imports on first use is for its users: a digest would reach the package alone."""
    files = [file for package in ("mcoherence", "workflow_scripts") for file in (ROOT / package).rglob("*.py")]
    unseen = {
        (node.module, alias.name)
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and (ROOT / node.module.replace(".", "/")).is_dir()
        for alias in node.names
        if not import_closure(f"{node.module}.{alias.name}", ROOT) and alias.name not in names_in(node.module)
    }
    assert unseen == {("mcoherence.optim", "METHODS")}  # meant: an entry more re-runs nothing


@pytest.mark.parametrize("module", ["mcoherence.optim.methods", "mcoherence.models.architectures"])
@pytest.mark.parametrize("command", ["train", "evaluate", "measure_coherence", "tabulate", "describe_study"])
def test_tables_of_what_is_imported_by_name_re_run_nothing(command, module):
    assert module not in import_closure(f"workflow_scripts.{command}", ROOT)


def test_training_does_not_depend_on_every_optimiser_and_network():
    reached = import_closure("workflow_scripts.train", ROOT)
    assert {name for name in reached if name.startswith("mcoherence.optim.")} == {"mcoherence.optim.descent"}
    networks = {"mlp", "cnn", "torchvision_networks", "own_network"}
    assert not {f"mcoherence.models.{name}" for name in networks} & reached
