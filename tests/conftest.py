"""For all tests: how pytest-xdist shares them out, and how many cores a worker may use.

Tests of a module run in one worker, for they share fixtures; those of a module marked `apart` wherever there is room.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Share the cores among the workers, before torch is imported. They inherit the setting, and so do jobs of tests.

    With more threads than cores, threads wait for each other by spinning: a test of a second then takes minutes.
    """
    workers = config.getoption("numprocesses", default=None) or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share out whole modules, less those marked `apart`, under `--dist loadgroup`.

    Not by its own groups: these are names after the ids of tests, which pytest 9.2 no longer lets pytest-xdist 3.8
    change, so that it shares out single tests and every worker makes every fixture, without a word.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return nodeid if is_apart(config.rootpath / module) else module

    return ByModule(config, log)


@cache
def is_apart(module: Path) -> bool:
    """Whether the tests of a module may run apart from each other."""
    return "pytest.mark.apart" in module.read_text(encoding="utf-8")
