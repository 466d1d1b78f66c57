"""The digest changes with the code that a module reaches, and with nothing else."""

import os
from pathlib import Path

import pytest

from mcoherence.errors import UserError
from mcoherence.study.code_digest import code_digest, digest_of_source, import_closure, module_digests, package_digests

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


@pytest.mark.parametrize("encoded", [
    lambda text: f"# -*- coding: latin-1 -*-\n{text}".encode("latin-1"),
    lambda text: f"#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n{text}".encode("cp1252"),
    lambda text: text.encode("utf-8-sig"),
    lambda text: text.replace("\n", "\r\n").encode(),
])  # fmt: skip
def test_a_module_in_an_encoding_that_it_names_has_the_digest_of_its_text(root, encoded):
    module, text = root / "library/other.py", "# Gr\u00fc\u00dfe\nVALUE = 'stra\u00dfe'\n"
    module.write_bytes(text.encode())
    plain = module_digests("library.other", root)
    module.write_bytes(encoded(text))
    os.utime(module, ns=(1, 1))  # so that it is read anew
    assert module_digests("library.other", root) == plain
    assert digest_of_source(encoded(text)) == plain["library.other"]  # as jobs compare it


@pytest.mark.parametrize(("content", "found"), [
    ("# Gr\u00fc\u00dfe\n".encode("latin-1"), "the byte 0xfc in line 1, which is no UTF-8"),
    (b"\n\nVALUE = '\xe9'\n", "the byte 0xe9 in line 3, which is no UTF-8"),
    (b"# -*- coding: ascii -*-\nVALUE = '\xe9'\n", "the byte 0xe9 in line 2, which is no UTF-8"),
    (b"# -*- coding: nonsense -*-\n", "an encoding named in which Python cannot read it"),
    (b"# -*- coding: rot13 -*-\n", "an encoding named in which Python cannot read it"),
    (b"\xef\xbb\xbf# -*- coding: latin-1 -*-\n", "an encoding named in which Python cannot read it"),
    (b"VALUE = 1\n\0\n", "a zero byte in line 2"),
])  # fmt: skip
def test_a_module_in_no_encoding_is_one_line_that_names_the_file(root, content, found):
    (root / "library/other.py").write_bytes(content)
    with pytest.raises(UserError) as caught:
        code_digest("scripts.second", root)
    assert str(caught.value).startswith(f"{root / 'library/other.py'}: found {found}")


def test_a_docstring_in_the_middle_of_a_function_is_code(root):
    before = code_digest("scripts.entry", root)
    edit(root, "library/deep/leaf.py", '    """Twice x."""\n', '    """Twice x."""\n    "not a docstring"\n')
    assert code_digest("scripts.entry", root) != before


ENTRY = "from library.shown import show\n\nprint(show())\n"
# A module that shows how far a loop is, marked, what it imports, and a package around it.
SHOWN = {
    "library/__init__.py": "",
    "library/shown/__init__.py": "from library.shown.bar import show\n",
    "library/shown/bar.py": "import library.only\nfrom library import both\n\nOPERATIONAL = True\nWIDTH = 3\n",
    "library/only.py": "VALUE = 1\n",
    "library/both.py": "VALUE = 1\n",
    "scripts/__init__.py": "",
    "scripts/entry.py": ENTRY,
    "scripts/second.py": ENTRY + "import library.both\n",
}


@pytest.fixture
def marked(tmp_path):
    for name, text in SHOWN.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_an_operational_module_is_passed_over_with_what_only_it_imports(marked):
    around = {"scripts", "library", "library.shown"}  # packages run too when a module in them is imported
    assert import_closure("scripts.entry", marked) == around | {"scripts.entry"}
    assert import_closure("scripts.second", marked) == around | {"scripts.second", "library.both"}


def test_an_edit_of_an_operational_module_does_not_change_the_digest(marked):
    before = code_digest("scripts.entry", marked)
    edit(marked, "library/shown/bar.py", "WIDTH = 3", "WIDTH = 4")
    edit(marked, "library/only.py", "VALUE = 1", "VALUE = 2")
    assert code_digest("scripts.entry", marked) == before


def test_the_digest_of_an_operational_module_itself_is_that_of_its_code(marked):
    assert import_closure("library.shown.bar", marked) == {
        "library", "library.shown", "library.shown.bar", "library.only", "library.both",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "operational"),
    [
        pytest.param("OPERATIONAL = True\n", True, id="alone"),
        pytest.param('"""Doc."""\n\nOPERATIONAL = True\n\nimport os\n', True, id="before-the-imports"),
        pytest.param("# why\nimport os\nfrom a import b\n\nOPERATIONAL = True  # here\n", True, id="after-the-imports"),
        pytest.param("LIMIT = 3\nOPERATIONAL = True\n", False, id="second-statement"),
        pytest.param("OPERATIONAL = False\n", False, id="not-true"),
        pytest.param("OPERATIONAL = 1\n", False, id="not-the-constant"),
        pytest.param("OPERATIONAL = ('device',)\n", False, id="a-constant-of-this-name"),
        pytest.param("OPERATIONAL = ALL = True\n", False, id="two-names"),
        pytest.param("if True:\n    OPERATIONAL = True\n", False, id="not-top-level"),
        pytest.param("def f():\n    OPERATIONAL = True\n", False, id="in-a-function"),
        pytest.param("# OPERATIONAL = True\n", False, id="in-a-comment"),
        pytest.param('"""OPERATIONAL = True"""\n', False, id="in-the-docstring"),
    ],
)
def test_the_mark_is_the_first_statement_besides_docstring_and_imports(tmp_path, text, operational):
    (tmp_path / "entry.py").write_text("import module\n")
    (tmp_path / "module.py").write_text(text)
    assert ("module" not in import_closure("entry", tmp_path)) == operational


def same_digest(folder, before, after):
    """Whether two texts of a module have one digest."""
    for name, text in (("before", before), ("after", after)):
        (folder / f"{name}.py").write_text(text)
    return module_digests("before", folder)["before"] == module_digests("after", folder)["after"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("raise E('found 1')", "raise E('found one')", id="string"),
        pytest.param("raise E(f'{a}: found {b}')", "raise E(f'{b!r:>4}, {f(a)}')", id="f-string-with-what-it-names"),
        pytest.param("raise E('a' f'{b}')", "raise E('a')", id="adjacent-strings"),
        pytest.param("raise E('a' + 'b')", "raise E('a')", id="a-sum-of-strings"),
        pytest.param("raise E('a' + name + 'b')", "raise E('c' + name + f'{d}')", id="a-sum-with-something-else"),
        pytest.param("raise E('a') from e", "raise E('b') from e", id="raised-from"),
        pytest.param("raise m.E('a', 3, 'b')", "raise m.E('c', 3, 'd')", id="several-arguments"),
        pytest.param("p.add_argument('-x', help='a')", "p.add_argument('-x', help=f'b {c}')", id="help"),
        pytest.param("a.ArgumentParser(description='a')", "a.ArgumentParser(description='b')", id="what-for"),
    ],
)  # fmt: skip
def test_the_text_of_errors_and_of_help_is_left_out(tmp_path, before, after):
    assert same_digest(tmp_path, before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("raise E('a')", "raise F('a')", id="another-error"),
        pytest.param("if a > 0:\n    raise E('a')", "if a >= 0:\n    raise E('a')", id="another-condition"),
        pytest.param("raise E('a')", "raise E()", id="no-text"),
        pytest.param("raise E('a')", "raise E('a', 'b')", id="another-argument"),
        pytest.param("raise E('a', 75)", "raise E('a', 76)", id="a-number"),
        pytest.param("raise E(b'a')", "raise E(b'b')", id="bytes"),
        pytest.param("raise E('a' + f(b))", "raise E('a' + g(b))", id="what-is-joined-to-text"),
        pytest.param("raise E('a' % b)", "raise E('c' % b)", id="text-that-is-worked-on"),
        pytest.param("raise E(f('a'))", "raise E(f('b'))", id="text-that-a-function-takes"),
        pytest.param("raise E(kind='a')", "raise E(kind='b')", id="an-argument-with-a-name"),
        pytest.param("raise E('a') from e", "raise E('a') from None", id="another-cause"),
        pytest.param("raise E(f'{(a := 1)}')", "raise E(f'{(a := 2)}')", id="a-name-that-is-bound"),
        pytest.param(
            "def f():\n    raise E(f'{(yield 1)}')", "def f():\n    raise E(f'{(yield 2)}')", id="a-value-yielded"
        ),
        pytest.param(
            "async def f():\n    raise E(f'{await a}')", "async def f():\n    raise E(f'{await b}')", id="a-wait"
        ),
        pytest.param("raise StopIteration('a')", "raise StopIteration('b')", id="the-value-of-a-generator"),
        pytest.param("e = E('a')\nraise e", "e = E('b')\nraise e", id="an-error-made-before"),
        pytest.param("print('a')", "print('b')", id="text-of-anything-else"),
        pytest.param("p.add_argument('-x', default='a')", "p.add_argument('-x', default='b')", id="a-default"),
        pytest.param("p.add_argument('-x', help='a')", "p.add_argument('-y', help='a')", id="the-name-of-an-option"),
        pytest.param("record(description='a')", "record(description='b')", id="a-description-of-something-else"),
    ],
)  # fmt: skip
def test_what_is_no_text_of_an_error_or_of_help_stays_in(tmp_path, before, after):
    assert not same_digest(tmp_path, before, after)


def test_a_package_reaches_what_any_module_of_its_folder_does_and_a_new_file_is_one_more(root):
    before = package_digests("scripts", root)
    assert before.keys() == import_closure("scripts.entry", root) | import_closure("scripts.second", root)
    (root / "scripts/third.py").write_text("import json\n")
    (root / "scripts/below").mkdir()
    (root / "scripts/below/__init__.py").touch()
    (root / "scripts/below/fourth.py").touch()
    more = {"scripts.third", "scripts.below", "scripts.below.fourth"}
    assert package_digests("scripts", root).keys() - before.keys() == more


@pytest.mark.parametrize("module", ["mcoherence.optim.methods", "mcoherence.models.architectures"])
@pytest.mark.parametrize("command", ["train", "evaluate", "measure_coherence", "tabulate"])
def test_tables_of_what_is_imported_by_name_re_run_nothing(command, module):
    assert module not in import_closure(f"workflow_scripts.{command}", ROOT)


def test_training_does_not_depend_on_every_optimiser_and_network():
    reached = import_closure("workflow_scripts.train", ROOT)
    assert {name for name in reached if name.startswith("mcoherence.optim.")} == {
        "mcoherence.optim.by_name", "mcoherence.optim.descent",
    }  # fmt: skip
    networks = {"mlp", "cnn", "torchvision_networks", "own_network"}
    assert not {f"mcoherence.models.{name}" for name in networks} & reached
