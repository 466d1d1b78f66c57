"""No number depends on the modules that are marked operational: with all their constants altered, all numbers stay."""

import ast
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

from mcoherence.study.code_digest import is_operational

pytestmark = [pytest.mark.slow, pytest.mark.one_in(3)]

RUN = "runs/digits/cnn/half_random/rm3/full/seed1"
TABLES = ("accuracy", "coherence", "contributions")
# The check of a network is named by what it depends on, so it is asked again; nothing is made again because of it.
JOBS = {
    "check_network": 1,
    "train": 1,
    "train_from_6": 1,
    "evaluate": 1,
    "measure_coherence": 1,
    "measure_contributions": 1,
    "tabulate": 3,
}
# Constants that stay as they are, each with the reason.
KEPT = {
    "mcoherence/files/layouts.py": {"LETTERS": "numpy gave its types these names"},
    "mcoherence/files/provenance.py": {"RECORDED_LIBRARIES": "the libraries have these names"},
    "mcoherence/files/seals.py": dict.fromkeys(
        ("TENSORS", "LOG", "SEAL", "OPEN", "IN_HEADER", "IN_JSON", "IN_METADATA", "_TRAILER_BYTES"),
        "the study's other files, which are read, were sealed with these",
    ),
    "mcoherence/study/code_digest.py": dict.fromkeys(
        ("MARK", "OPTION_METHODS", "HELP", "VALUES"), "they decide what runs again, which would be everything"
    ),
    "workflow_scripts/jobs/copy_client.py": {"CONTAINERS": "others gave the variables these names"},
    "workflow_scripts/jobs/launch.py": {"KEPT": "others gave the variables these names"},
}


def operational_modules(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    """The marked modules of a workflow, parsed."""
    for package in ("mcoherence", "workflow_scripts"):
        for path in sorted((folder / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            if is_operational(tree):
                yield path, tree


def altered(value: object) -> object:
    """The value with other numbers and strings in it; the keys of a mapping are names of entries and stay."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return 2 * value + 1
    if isinstance(value, float):
        return 1.1 * value + 0.1
    if isinstance(value, str):
        return f"{value}_altered"
    if isinstance(value, Mapping):
        return {key: altered(one) for key, one in value.items()}
    assert isinstance(value, tuple | list | set | frozenset), value
    return type(value)(altered(one) for one in value)


def constant(node: ast.stmt) -> tuple[str, object] | None:
    """Name (or names, as they stand) and value of a constant of a module that is written out in numbers and strings."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return None
    if any(isinstance(one, ast.Call | ast.Name | ast.Attribute) for one in ast.walk(node.value)):
        return None
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return ast.unparse(target), eval(compile(ast.Expression(node.value), "constant", "eval"), {})


def alter_constants(path: Path, tree: ast.Module, kept: Mapping[str, str]) -> list[str]:
    """Write the module with other constants; returns the names of those that it alters."""
    names = []
    for node in tree.body:
        found = constant(node)
        if found is not None and found[0] not in kept and altered(found[1]) != found[1]:
            names.append(found[0])
            node.value = ast.parse(repr(altered(found[1])), mode="eval").body
    path.write_text(ast.unparse(tree))
    return names


@pytest.fixture(scope="module")
def with_other_constants(study, tmp_path_factory):
    """The study after one run and the tables were made again with other constants; what it planned, and altered."""
    folder = tmp_path_factory.mktemp("altered") / "study"
    shutil.copytree(study.folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
    workflow = replace(study, folder=folder)
    names = []
    for path, tree in operational_modules(folder):
        name = str(path.relative_to(folder))
        names += [f"{name}: {one}" for one in alter_constants(path, tree, KEPT.get(name, {}))]
    shutil.rmtree(workflow.results / RUN)
    tables = [workflow.results / f"tables/{name}.parquet" for name in TABLES]
    for path in tables:
        path.unlink()
    targets = [str(path.relative_to(folder)) for path in tables]
    planned = workflow.planned(*targets)
    answer = workflow.run("--cores", "2", "--quiet", "reason", "--", *targets)
    assert answer.returncode == 0, answer.stdout[-5000:]
    return workflow, planned, names


def test_constants_of_every_kind_are_altered(with_other_constants):
    _, _, names = with_other_constants
    for name in (
        "mcoherence/files/progress.py: SECONDS_BETWEEN_LINES",
        "mcoherence/study/cutting.py: MEASURED_IN_PARTS",
        "mcoherence/study/data_sizes.py: KNOWN",
        "mcoherence/study/data_sizes.py: (ACTIVATIONS_OF_SMALL, ACTIVATIONS_OF_LARGE, LARGE_SIDE)",
        "workflow_scripts/jobs/copy_client.py: OFFER",
        "workflow_scripts/jobs/gpu_lease.py: SECONDS_BETWEEN_TRIES",
    ):
        assert name in names


def test_what_is_kept_is_there(study):
    found = {str(path.relative_to(study.folder)): tree for path, tree in operational_modules(study.folder)}
    for name, constants in KEPT.items():
        assert constants.keys() <= {one[0] for one in map(constant, found[name].body) if one is not None}


def test_other_constants_run_nothing_again(with_other_constants):
    _, planned, _ = with_other_constants
    assert planned == JOBS  # of what was removed


def data_of(path: Path) -> dict[str, np.ndarray | bytes]:
    """What a file holds but for its record of how it came to be: data sets, tensors, or the bytes of a table."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            return {name: file[name][()] for name in names}
    if path.suffix == ".safetensors":
        return load_file(path)
    return {"bytes": path.read_bytes()}


def same(one: np.ndarray | bytes, other: np.ndarray | bytes) -> bool:
    """Whether both have the same bits, NaN included."""
    if isinstance(one, bytes) or isinstance(other, bytes):
        return one == other
    if one.dtype == object:  # names
        return one.tolist() == other.tolist()
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def test_all_numbers_are_the_same(with_other_constants, study):
    workflow, _, _ = with_other_constants
    files = [path.relative_to(study.results) for path in sorted((study.results / RUN).rglob("*.*")) if path.is_file()]
    files += [Path(f"tables/{name}{suffix}") for name in TABLES for suffix in (".csv", ".parquet")]
    kinds = {path.name for path in files}
    assert {"evaluation.h5", "coherence.h5", "contributions.h5", "step12.safetensors", "training_log.csv"} <= kinds
    for file in files:
        made, expected = data_of(workflow.results / file), data_of(study.results / file)
        assert made.keys() == expected.keys()
        for name, values in expected.items():
            assert same(values, made[name]), f"{file}: {name}"
