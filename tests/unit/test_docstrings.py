"""The examples in docstrings of the library say what happens."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "mcoherence").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def examples_of(module):
    """{dotted name of a function or class: its doctest} where its docstring has an example."""
    return {test.name: test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples}


@pytest.mark.parametrize("module", MODULES)
def test_examples_give_what_they_show(module):
    for test in examples_of(import_module(module)).values():
        report: list[str] = []
        failed, attempted = doctest.DocTestRunner().run(test, out=report.append)
        assert attempted, test.name
        assert not failed, "".join(report)


def test_what_users_call_has_an_example():
    found = {name for module in MODULES for name in examples_of(import_module(module))}
    assert {
        "mcoherence.gradients.statistics.gradient_statistics",
        "mcoherence.gradients.reference.per_example_gradients",
        "mcoherence.monitoring.monitor.CoherenceMonitor",
        "mcoherence.optim.rm3.RM3",
        "mcoherence.optim.m3.M3",
        "mcoherence.data.corruption.corrupt_labels",
    } <= found
