"""A job imports the code that its study started with, or leaves with one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcoherence.study.code_digest import digest_of_source
from workflow_scripts.jobs import started

ROOT = Path(__file__).parents[3]
SOURCES = {"package/__init__.py": "", "package/used.py": "RATE = 0.3\n", "package/unknown.py": "X = 1\n"}
RULES = "rule train:\n    shell: 'python'\n"
COMMAND = "import workflow_scripts\nimport package.used, package.unknown\nprint(package.used.RATE)"


@pytest.fixture
def study(tmp_path):
    """A study that has started: returns its folder, and the environment of its jobs."""
    for name, text in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tmp_path / "Snakefile").write_text(RULES)
    file = tmp_path / "package/used.py"
    environment = {}
    modules = {"package.used": (digest_of_source(file.read_bytes()), file)}
    rules = {tmp_path / "Snakefile": started.rules_digest(tmp_path / "Snakefile")}
    started.write_start(tmp_path / "code", modules, rules, {"lr": 0.3}, environment)
    return tmp_path, environment


def job(folder, environment):
    """A process that imports the package as a command does."""
    paths = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-c", COMMAND],
        env=os.environ | {"PYTHONPATH": paths} | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def edit(path, text):
    """Write a text as an editor would that leaves size and time stamp as they are, if it can."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_an_edited_module_is_refused_by_name_in_one_line(study):
    folder, environment = study
    used = folder / "package/used.py"
    answer = job(folder, environment)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "0.3\n", "")
    edit(used, "RATE = 0.2\n")
    answer = job(folder, environment)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith("error: package.used: edited since the study started; ")
    assert len(answer.stderr.splitlines()) == 1
    edit(used, SOURCES["package/used.py"])  # taken back
    assert job(folder, environment).stdout == "0.3\n"


def test_no_cached_code_of_an_edit_is_run_whose_time_stamp_tells_nothing(study):
    folder, environment = study
    used = folder / "package/used.py"
    edit(used, "RATE = 0.2\n")
    by_hand = {"PYTHONDONTWRITEBYTECODE": ""}
    assert job(folder, by_hand).stdout == "0.2\n"  # which caches it
    edit(used, SOURCES["package/used.py"])
    assert job(folder, environment).stdout == "0.3\n"


def test_comments_and_modules_that_decide_no_number_may_be_edited(study):
    folder, environment = study
    (folder / "package/used.py").write_text("# A rate.\nRATE = 0.3\n")
    (folder / "package/unknown.py").write_text("X = 2\n")
    assert job(folder, environment).stdout == "0.3\n"


def test_a_command_started_by_hand_or_without_the_note_compares_nothing(study):
    folder, _ = study
    (folder / "package/used.py").write_text("RATE = 0.2\n")
    for one in ({}, {started.VARIABLE: str(folder / "gone.json")}, {started.VARIABLE: str(folder / "Snakefile")}):
        assert job(folder, one).stdout == "0.2\n"


def test_a_job_that_parses_the_workflow_compares_rules_config_and_modules(study):
    folder, environment = study
    start = started.start_of_jobs(folder / "code", environment)
    loaded = {"package.used": type(sys)("package.used")}
    loaded["package.used"].__file__ = str(folder / "package/used.py")

    def check():
        started.check_rules_and_modules(start, loaded)
        started.check_config(start, {"lr": 0.3})

    check()
    (folder / "Snakefile").write_text(f"# Train.\n\n{RULES}")
    check()
    (folder / "Snakefile").write_text(RULES.replace("python", "python3"))
    with pytest.raises(started.Edited, match="Snakefile: edited since the study started"):
        check()
    (folder / "Snakefile").write_text(RULES)
    (folder / "package/used.py").write_text("RATE = 0.2\n")
    with pytest.raises(started.Edited, match=r"package\.used: edited"):
        check()
    with pytest.raises(started.Edited, match=r"error: the config \(lr: 0\.3 -> 0\.2\): edited since"):
        started.check_config(start, {"lr": 0.2})


def test_another_start_beside_this_one_does_not_change_what_its_jobs_compare_with(study):
    folder, environment = study
    file = folder / "package/used.py"
    file.write_text("RATE = 0.2\n")
    other = {}
    modules = {"package.used": (digest_of_source(file.read_bytes()), file)}
    started.write_start(folder / "code", modules, {}, {"lr": 0.2}, other)
    assert job(folder, environment).returncode == 1
    assert job(folder, other).stdout == "0.2\n"
    # A job that was not told, on another machine, takes the latest.
    assert started.start_of_jobs(folder / "code", untold := {}) == json.loads(Path(other[started.VARIABLE]).read_text())
    assert Path(untold[started.VARIABLE]).name == started.LATEST
    assert started.start_of_jobs(folder / "nothing", {}) is None


def test_an_edit_between_planning_and_the_start_is_refused(study):
    """The digest is taken when the workflow is read; the study starts once all is planned."""
    folder, _ = study
    file = folder / "package/used.py"
    modules = {"package.used": (digest_of_source(file.read_bytes()), file)}
    file.write_text("RATE = 0.1\n")
    with pytest.raises(started.Edited, match=r"error: package\.used: edited since the study started"):
        started.write_start(folder / "code", modules, {}, {"lr": 0.3}, {})
