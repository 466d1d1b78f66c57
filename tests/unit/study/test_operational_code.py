"""Which modules the digests of code pass over, what these may do, and that all others count."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from mcoherence.files.provenance import provenance
from mcoherence.study.code_digest import import_closure, is_operational, module_digests

ROOT = Path(__file__).parents[3]
PACKAGES = ("mcoherence", "workflow_scripts")
COMMANDS = sorted(f"workflow_scripts.{path.stem}" for path in (ROOT / "workflow_scripts").glob("[!_]*.py"))
WITHOUT_NUMBERS = {
    f"workflow_scripts.{name}" for name in ("plan", "job_seconds", "why", "describe_study", "check_data")
}  # what is said of it
NUMERICS = {"torch", "torchvision", "numpy", "scipy", "pandas", "sklearn", "pyarrow", "safetensors"}


def name_of(file: Path, root: Path = ROOT) -> str:
    """Dotted name of a module by its file."""
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


TREES = {path: ast.parse(path.read_text()) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
MARKED = {name_of(path): tree for path, tree in TREES.items() if is_operational(tree)}


@pytest.fixture
def sources(tmp_path):
    """A copy of the packages."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def append_code(root, chosen):
    """Append a statement to the modules that `chosen` takes by name."""
    for path in root.rglob("*.py"):
        if chosen(name_of(path, root)):
            path.write_text(path.read_text() + "\nADDED = 1\n")


def digests(root):
    """Command -> module that it reaches -> digest of its code."""
    return {command: module_digests(command, root) for command in COMMANDS}


def test_the_documented_modules_are_those_that_are_marked():
    rows = re.findall(
        r"^\| `(mcoherence|workflow_scripts)(\.[\w.]+)?` \| .+ \|$", (ROOT / "docs/reruns.md").read_text(), re.M
    )
    assert [package + rest for package, rest in rows] == sorted(MARKED)


def test_no_digest_changes_with_operational_code(sources):
    before = digests(sources)
    append_code(sources, lambda name: name in MARKED)
    assert digests(sources) == before


def test_every_digest_changes_with_any_other_code_that_a_command_reaches(sources):
    before = digests(sources)
    append_code(sources, lambda name: name not in MARKED)
    for command, modules in digests(sources).items():
        assert modules.keys() == before[command].keys()
        assert not modules.items() & before[command].items()


@pytest.mark.parametrize("name", MARKED)
def test_operational_code_has_nothing_to_calculate_with(name):
    imported = {
        (node.module or "").partition(".")[0] if isinstance(node, ast.ImportFrom) else alias.name.partition(".")[0]
        for node in ast.walk(MARKED[name])
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not NUMERICS & imported


def test_what_decides_about_jobs_is_out_of_reach_of_what_jobs_do(sources):
    about_jobs = {"mcoherence.study.cutting", "mcoherence.study.data_sizes"}
    assert about_jobs <= MARKED.keys()
    for path in sources.rglob("*.py"):  # without marks nothing is passed over
        path.write_text(re.sub("^OPERATIONAL = True", "", path.read_text(), flags=re.M))
    reached = {command: about_jobs & import_closure(command, sources) for command in COMMANDS}
    assert {command for command, modules in reached.items() if modules} <= WITHOUT_NUMBERS


def test_settings_stand_in_a_record_as_they_were_given():
    settings = {"scheme": "pair", "seed": 3, "rates": [0.1, 1 / 3]}
    assert provenance(settings, []).settings == settings


def reads_text(handler):
    """Whether an `except ... as error` looks at the error's text where it decides something."""
    decisions = (
        (node.test,) if isinstance(node, ast.If | ast.While | ast.IfExp)
        else (node,) if isinstance(node, ast.Compare)
        else (node.subject,) if isinstance(node, ast.Match)
        else ()
        for statement in handler.body for node in ast.walk(statement)
    )  # fmt: skip
    for decision in (one for several in decisions for one in several):
        attributes = {
            id(node.value) for node in ast.walk(decision) if isinstance(node, ast.Attribute) and node.attr != "args"
        }
        for node in ast.walk(decision):
            if isinstance(node, ast.Name) and node.id == handler.name and id(node) not in attributes:
                return True
    return False


def test_no_handler_decides_by_the_text_of_an_error():
    """Else the text of errors would have to be in the digests."""
    handlers = [
        (name_of(path), node)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and node.name
    ]
    assert len(handlers) > 20
    assert not [(name, ast.unparse(handler)) for name, handler in handlers if reads_text(handler)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("raise F(str(error)) from error", False),
        ("if error.errno == 2:\n        pass", False),
        ("if 'size' in str(error):\n        pass", True),
        ("x = 1 if error.args[0] else 2", True),
        ("x = str(error) == 'size'", True),
    ],
)
def test_deciding_by_the_text_of_an_error_is_noticed(body, expected):
    tree = ast.parse(f"try:\n    pass\nexcept E as error:\n    {body}\n")
    assert reads_text(tree.body[0].handlers[0]) == expected
