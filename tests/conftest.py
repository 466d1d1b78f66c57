"""For all tests: how pytest-xdist shares them out, and how many cores a worker may use.

Tests of a module run in one worker, for they share fixtures; those of a module marked `apart` wherever there is room.
"""

import os

import pytest

workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
# Before torch is imported; jobs that a test starts inherit it.
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Name the group of every test, for `--dist loadgroup`."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        apart = item.get_closest_marker("apart") is not None
        item.add_marker(pytest.mark.xdist_group(item.nodeid if apart else item.nodeid.partition("::")[0]))
