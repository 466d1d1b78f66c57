"""The tutorial's files and commands, as a newcomer would type them: its own study is made up to its claims."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_in(3)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tutorial.md").read_text()
FENCES = re.findall(r"^```(\w*)\n(.*?)```$", PAGE, flags=re.DOTALL | re.MULTILINE)
FILES = {block.split()[1]: block for _, block in FENCES if re.match(r"# \w+\.\w+\n", block)}
SNIPPETS = [block for language, block in FENCES if language == "python" and block not in FILES.values()]
COMMANDS = [shlex.split(line) for language, block in FENCES if not language for line in block.splitlines()]
BIN = Path(sys.executable).parent
MADE = ["results/own/claims.json", "results/own/tables/coherence.parquet"]


@pytest.fixture(scope="module")
def folder(new_workflow, tmp_path_factory):
    """A clone with the files that the tutorial has its reader write."""
    made = new_workflow(tmp_path_factory.mktemp("tutorial")).folder
    shutil.copy2(ROOT / "Makefile", made)
    for name, text in FILES.items():
        (made / name).write_text(text)
    return made


@pytest.fixture(scope="module")
def own(folder):
    """The folder, in which the own study is made up to its tables and claims."""
    answer = typed(folder, [str(BIN / "snakemake"), "--cores", "2", "--configfile", "own.yaml", "--", *MADE])
    assert answer.returncode == 0, answer.stdout[-5000:]
    return folder


def typed(folder, command):
    """What a command says, with its status; those of `.venv/bin` are this environment's."""
    command = [str(BIN / Path(word).name) if word.startswith(".venv/bin/") else word for word in command]
    if command[0] == "make":  # no set-up, and the environment of the tests
        command += ["INSTALLED=Makefile", f"BIN={BIN}"]
    return subprocess.run(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | {"PYTHONPATH": "."},
    )  # fmt: skip


def test_the_page_has_the_files_and_commands_that_are_tested_here():
    assert set(FILES) == {"first.yaml", "own.yaml", "my_networks.py", "my_data.py"}
    assert [command[:2] for command in COMMANDS] == [
        ["make"], ["make", "plan"], ["make", "STUDY=first.yaml"], ["make", "why"], ["make", "STUDY=own.yaml"],
        [".venv/bin/mcoherence", "show"],
    ]  # fmt: skip
    assert len(SNIPPETS) == 2


def test_the_plan_of_the_first_study_is_that_of_six_runs(folder):
    answer = typed(folder, COMMANDS[1])
    assert answer.returncode == 0, answer.stdout
    assert "Runs: 6. Jobs: 6 train" in answer.stdout


def test_make_runs_the_file_that_is_named(folder):
    for command in (COMMANDS[2], COMMANDS[4]):
        answer = typed(folder, [*command, "--just-print"])
        assert answer.returncode == 0, answer.stdout
        assert f"config_files '{command[1].removeprefix('STUDY=')}'" in answer.stdout


def test_the_own_study_is_made_and_says_what_it_found(own):
    answer = typed(own, COMMANDS[5])
    assert answer.returncode == 0, answer.stdout
    assert re.search(r"^P9 +\w", answer.stdout, re.MULTILINE)


def test_its_numbers_are_read_as_the_page_says(own, monkeypatch, capsys):
    monkeypatch.chdir(own)
    monkeypatch.syspath_prepend(own)
    namespace = {}
    for block in SNIPPETS:
        exec(compile(block, "docs/tutorial.md", "exec"), namespace)
    sys.modules.pop("my_networks", None)
    peaks = namespace["peaks"]
    assert peaks["clean"].min() > 10
    assert peaks["noisy"].max() < 5
    assert re.search(r"100 examples", capsys.readouterr().out)


def test_a_table_is_drawn_as_the_page_on_columns_says(own, monkeypatch):
    monkeypatch.chdir(own)
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/columns.md").read_text(), flags=re.DOTALL)
    exec(compile(block.replace("results/digits", "results/own"), "docs/columns.md", "exec"), {})
    assert (own / "my_figure.png").read_bytes().startswith(b"\x89PNG")
