"""How pytest-xdist shares out the tests: a module whole, so that its fixtures are made once, but for those `apart`.

And the cores: no more threads than there are, for they would wait for each other by spinning.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
PYTEST = (sys.executable, "-m", "pytest")
THREADS = """
import os

def test_it():
    assert os.environ["OMP_NUM_THREADS"] == "{}"
"""


def test_modules_stay_whole_and_those_that_are_apart_do_not(tmp_path):
    shutil.copy2(CONFTEST, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = apart\n")
    for name, mark in (("apart", MARK), ("one", ""), ("two", "")):  # both workers begin with the first
        (tmp_path / f"test_{name}.py").write_text(MODULE.format(mark=mark))
    options = ["-v", "-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder", "-p", "no:cacheprovider"]
    command = [*PYTEST, *options]
    answer = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=True)
    workers: dict[str, set[str]] = {}
    for worker, module in re.findall(r"\[(gw\d)\].*PASSED test_(\w+)\.py", answer.stdout):
        workers.setdefault(module, set()).add(worker)
    assert {module: len(found) for module, found in workers.items()} == {"one": 1, "two": 1, "apart": 2}


@pytest.mark.parametrize("alone", [True, False])
def test_workers_together_have_as_many_threads_as_there_are_cores(alone, tmp_path):
    shutil.copy2(CONFTEST, tmp_path)
    cores = os.cpu_count() or 1
    (tmp_path / "test_threads.py").write_text(THREADS.format(cores if alone else 1))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP", "PYTEST"))}
    options = ["-n", "0" if alone else str(cores), "-p", "no:cacheprovider"]
    answer = subprocess.run(
        [*PYTEST, *options], cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
    )
    assert answer.returncode == 0, answer.stdout
