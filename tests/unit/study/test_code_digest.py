"""The digest changes with the code that a module reaches, and with nothing else."""

import pytest

from mcoherence.study.code_digest import code_digest, import_closure, package_digests

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


def test_a_package_reaches_what_any_module_of_its_folder_does_and_a_new_file_is_one_more(root):
    before = package_digests("scripts", root)
    assert before.keys() == import_closure("scripts.entry", root) | import_closure("scripts.second", root)
    (root / "scripts/third.py").write_text("import json\n")
    assert package_digests("scripts", root).keys() - before.keys() == {"scripts.third"}
