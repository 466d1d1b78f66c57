"""How pytest-xdist shares out the tests: a module whole, so that its fixtures are made once, but for those `apart`.

And the cores: no more threads than there are, for they would wait for each other by spinning. And which tests are tried
where a share of them is dealt.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import dealt

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


DEALT = """
import pytest

@pytest.mark.one_in(3)
@pytest.mark.parametrize("number", range(7))
def test_many(number):
    pass

def test_always():
    pass
"""
MODULES = """
import pytest

pytestmark = pytest.mark.one_in(2)

def test_one():
    pass

def test_two():
    pass
"""


def tried(folder, word):
    """The tests that run, by module, where this word deals."""
    environment = {name: value for name, value in os.environ.items() if name != "MCOHERENCE_TESTS"}
    command = [*PYTEST, "--collect-only", "--quiet", "-p", "no:cacheprovider"]
    environment |= {"MCOHERENCE_TESTS": word} if word else {}
    answer = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=True)
    found: dict[str, list[str]] = {}
    for module, test in re.findall(r"^test_(\w+)\.py::(\S+)", answer.stdout, re.MULTILINE):
        found.setdefault(module, []).append(test)
    return found


def test_a_word_deals_out_a_share_of_the_cases_and_of_the_modules(tmp_path):
    shutil.copy2(CONFTEST, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = one_in(k)\n")
    (tmp_path / "test_cases.py").write_text(DEALT)
    for name in "abc":
        (tmp_path / f"test_{name}.py").write_text(MODULES)
    whole = tried(tmp_path, None)
    assert {module: len(tests) for module, tests in whole.items()} == {"cases": 8, "a": 2, "b": 2, "c": 2}
    share = tried(tmp_path, "a word")
    assert len(share["cases"]) == 3 + 1
    assert "test_always" in share["cases"]
    assert [share[name] for name in share if name != "cases"] == [["test_one", "test_two"]] * 2


def test_words_deal_out_different_shares_and_the_same_one_always_the_same():
    cards = [f"test_{i}" for i in range(20)]
    words = [f"commit {i}" for i in range(30)]
    shares = [dealt(cards, 3, word) for word in words]
    assert {len(share) for share in shares} == {7}
    assert set().union(*shares) == set(cards)
    assert shares == [dealt(reversed(cards), 3, word) for word in words]
