"""How pytest-xdist shares out the tests: a module whole, so that its fixtures are made once, but for those `apart`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"
MODULE = """
import time
import pytest

{mark}
@pytest.mark.parametrize("number", range(4))
def test_it(number):
    time.sleep(0.05)
"""
MARK = "pytestmark = pytest.mark.apart"


def test_modules_stay_whole_and_those_that_are_apart_do_not(tmp_path):
    shutil.copy2(CONFTEST, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = apart\n")
    for name, mark in (("apart", MARK), ("one", ""), ("two", "")):  # both workers begin with the first
        (tmp_path / f"test_{name}.py").write_text(MODULE.format(mark=mark))
    options = ["-v", "-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options]
    answer = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=True)
    workers: dict[str, set[str]] = {}
    for worker, module in re.findall(r"\[(gw\d)\].*PASSED test_(\w+)\.py", answer.stdout):
        workers.setdefault(module, set()).add(worker)
    assert {module: len(found) for module, found in workers.items()} == {"one": 1, "two": 1, "apart": 2}
