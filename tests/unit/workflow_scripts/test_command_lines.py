"""The edges of the command-line modules: options, and a user's mistake."""

import errno
import gc
import importlib
import os
import sys
from types import SimpleNamespace

import pytest

import workflow_scripts
from mcoherence.data import digits
from mcoherence.errors import UserError
from workflow_scripts import draw, prepare_dataset, tabulate
from workflow_scripts.command_line import computing_options, function_of_module, part_options, settings_parser
from workflow_scripts.jobs import entry
from workflow_scripts.jobs.entry import run


def test_every_command_takes_settings_and_some_the_options_of_parents():
    given = ["--settings", '{"lr": 0.1}', "--device", "cpu", "--images-memory-mb", "5", "--shards", "3"]
    parsed = settings_parser("what", computing_options(), part_options()).parse_args(given)
    assert parsed.settings == {"lr": 0.1}
    assert (parsed.device, parsed.threads, parsed.workers, parsed.images_memory_mb) == ("cpu", 1, 2, 5)
    assert (parsed.shard, parsed.shards, parsed.parts) == (0, 3, None)
    with pytest.raises(SystemExit):
        settings_parser("what").parse_args(given)


NO_FILES = {
    draw: ["--tables", "--images", "--png=f.png", "--pdf=f.pdf"],
    tabulate: ["--csv=t.csv", "--parquet=t.parquet"],
    prepare_dataset: ["--images=images.h5", "--data-folder=data", "--no-download"],
}


@pytest.mark.parametrize(
    ("command", "room", "without", "function"),
    [
        (draw, "mcoherence.figures", "axes", "draw"),
        (tabulate, "mcoherence.tables", "columns", "table"),
        (prepare_dataset, "mcoherence.data", "store", "open_source"),
    ],
)
def test_a_module_that_is_not_of_the_commands_room_is_one_line(command, room, without, function, monkeypatch):
    for module in (f"{room}.nowhere", f"{room}.{without}", "json", "mcoherence.nowhere.at_all"):
        monkeypatch.setattr(sys, "argv", ["x", f"--module={module}", "--settings={}", *NO_FILES[command]])
        with pytest.raises(UserError, match=rf"^--module {module}: .*{function}\(\); expected {room}\.NAME with that"):
            command.main()


def test_a_command_calls_the_function_of_the_module_that_it_is_given():
    assert function_of_module("mcoherence.data.digits", "mcoherence.data", "open_source") is digits.open_source


def test_a_users_mistake_is_one_line_and_status_one(capsys):
    def main():
        raise UserError("file: found this, expected that; do so")

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == "error: file: found this, expected that; do so"


def test_a_bug_keeps_its_traceback(monkeypatch):
    """Code is the user's own where it is neither this project's nor installed, as that of a test is not either."""
    monkeypatch.setattr(entry, "fault_of_own_code", lambda error: None)
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "results/a.h5"),
         "error: results/a.h5: refused by the system (No space left on device), expected room for it"),
        (PermissionError(errno.EACCES, "Permission denied", "results"),
         "error: results: refused by the system (Permission denied), expected that this user may read and write there"),
        (OSError(errno.ENOLCK, "No locks available"), "error: refused by the system (No locks available), expected"),
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_one_line(error, line):
    def main():
        raise error

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code.startswith(line)


@pytest.mark.parametrize(
    ("number", "free", "expected"),
    [
        (errno.ENOSPC, {"study": 0, "tmp": 2**30}, "HERE/study: "),
        (errno.ENOSPC, {"study": 2**30, "tmp": 4096}, "HERE/tmp: "),
        (errno.ENOSPC, {"study": 0, "tmp": 0}, "HERE/study: "),  # one disk
        (errno.ENOSPC, {"study": 2**30, "tmp": 2**30}, ""),  # it was another one, which nobody names
        (errno.EDQUOT, {"study": 2**30, "tmp": 2**30}, "HERE/study or HERE/tmp: "),  # nobody says whose is used up
    ],
)
def test_of_a_full_disk_without_a_file_the_folder_is_named(tmp_path, monkeypatch, number, free, expected):
    for name in free:
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "study")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    room = {str(tmp_path / name): SimpleNamespace(f_favail=9, f_bavail=one, f_frsize=1) for name, one in free.items()}
    monkeypatch.setattr("os.statvfs", room.__getitem__)

    def main():
        raise OSError(number, os.strerror(number))

    with pytest.raises(SystemExit) as caught:
        run(main)
    said = caught.value.code.replace(str(tmp_path), "HERE")
    assert said.startswith(f"error: {expected}refused by the system ({os.strerror(number)}), expected room ")


def test_code_of_a_users_own_that_fails_or_ends_python_is_one_line_that_says_where():
    with pytest.raises(SystemExit) as caught:
        run(lambda: {}["key"])
    assert caught.value.code.startswith(f"error: {__file__}:")
    assert "found KeyError: 'key' in <lambda>, expected none; mend it" in caught.value.code
    with pytest.raises(SystemExit) as caught:
        run(lambda: sys.exit(0))
    assert "found that it ends Python (sys.exit) in <lambda>" in caught.value.code


def test_garbage_is_collected_while_a_command_works(capsys):
    gc.disable()
    try:
        run(lambda: print(gc.isenabled()))
    finally:
        gc.enable()
        gc.unfreeze()
    assert capsys.readouterr().out == "True\n"


def test_only_a_command_imports_without_the_garbage_collector(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["-m"])
    importlib.reload(workflow_scripts)
    try:
        assert not gc.isenabled()
    finally:
        gc.enable()
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pytest"])
    importlib.reload(workflow_scripts)
    assert gc.isenabled()
