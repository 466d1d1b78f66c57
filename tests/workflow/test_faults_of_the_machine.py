"""A full disk is one line in every kind of job, leaves nothing behind, and costs nothing once there is room again.

A disk that is mounted read-only is one line too. Where this user may mount, the disk is really full: a tmpfs with the
study on it. Elsewhere it is a limit of the size of files that stands in for it.
"""

import ctypes
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import partial
from importlib import import_module

import pytest

from mcoherence.files import provenance
from tests.faults.bench import SAMPLE
from tests.workflow.conftest import copy_study
from workflow_scripts.jobs.entry import run

pytestmark = [pytest.mark.slow, pytest.mark.apart]

CLONE_NEWNS = 0x20000
PAGE = 4096  # bytes, of which a tmpfs gives a file so many at a time
BYTES = 100  # of the largest file, where the disk is "full"
COMMAND = re.compile(r"python -m workflow_scripts\.(\w+) (.*?) > ", re.DOTALL)
RULES = (
    "prepare_dataset", "corrupt_labels", "check_network", "train", "train_from_6", "evaluate", "measure_coherence",
    "measure_contributions", "score_difficulty", "split_easy_hard", "tabulate", "draw_easy_hard", "check_claims",
    "describe_study", "page",
)  # fmt: skip
LARGE = ("prepare_dataset", "train", "measure_coherence", "draw_easy_hard")  # of more than a page, so begun on the disk
TRIED = LARGE if SAMPLE else RULES  # on disks that are mounted; all of them without MCOHERENCE_FAULTS=sample


@pytest.fixture(scope="module")
def study(finished, tmp_path_factory):
    """The miniature study, a copy of these tests' own: they write into it."""
    return copy_study(finished, tmp_path_factory.mktemp("full_disk") / "study")


def commands(study):
    """Rule -> command and arguments of one of its jobs, as Snakemake has recorded them."""
    found = {}
    for path in sorted((study.folder / ".snakemake/metadata").rglob("*")):
        record = json.loads(path.read_text()) if path.is_file() else {}
        for name, arguments in COMMAND.findall(record.get("shellcmd") or "")[-1:]:
            found[record["rule"]] = (name, shlex.split(arguments))
    return found


def own_mounts():
    """Let what is mounted from here on be for this process alone; it takes root."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNS):
        raise OSError("no mounts of one's own here")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def mounted_read_only(folder):
    """Make a folder one that nothing can be written to, for this process alone."""
    own_mounts()
    for options in (["--bind", folder, folder], ["-o", "remount,ro,bind", folder]):
        subprocess.run(["mount", *options], check=True)


def on_a_small_disk(folder, room):
    """Move a folder's files to a disk of their own with so many bytes left, for this process alone."""
    kept = tempfile.mkdtemp()
    shutil.copytree(folder, kept, dirs_exist_ok=True)
    pages = sum(path.stat().st_size // PAGE + 1 for path in folder.rglob("*"))
    own_mounts()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={(pages + 50) * PAGE}", "tmpfs", folder], check=True)
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    shutil.rmtree(kept)
    with suppress(OSError), (folder / "logs/filled").open("wb", buffering=0) as filled:
        while filled.write(b"x" * PAGE):
            pass
    left = os.open(folder / "logs/filled", os.O_WRONLY)
    os.truncate(left, os.fstat(left).st_size - room)


def job(folder, name, arguments, largest=resource.RLIM_INFINITY, before=lambda: None, after=lambda: None):
    """Exit status of a job, and what it says.

    No file that it writes may be larger than so many bytes. `before` and `after` are called in its process.
    """
    module = import_module(f"workflow_scripts.{name}")
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        status = 1
        try:
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            sys.stdout = sys.stderr = open(writer, "w", buffering=1)  # noqa: SIM115
            os.chdir(folder)
            sys.path.append(str(folder))  # for modules of the study's own, as by `python -m`
            sys.argv = [name, *arguments]
            provenance.git_commit = lambda: "unknown"  # as in the copy of the workflow, which is no repository
            before()
            os.chdir(folder)  # what is mounted there now
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
            run(module.main)
            status = 0
        except SystemExit as end:
            print(end.code, file=sys.stderr)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            after()
            os._exit(status)
    os.close(writer)
    with open(reader) as said:
        text = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), text


def refused(folder, results, name, arguments, expected, contents, before):
    """What is wrong with how a job is refused: not in one line with these words, or leaving something behind."""
    was = contents()

    def tell_what_is_other():
        now = contents()
        print("".join(f"other: {path}\n" for path in sorted(was.keys() | now.keys()) if was.get(path) != now.get(path)))
        print("".join(f"other: {path}\n" for path in results.rglob(".*.tmp")))

    status, said = job(folder, name, arguments, before=before, after=tell_what_is_other)
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    one_line = len(lines) == 1 and all(words in lines[0] for words in expected)
    well = status == 1 and one_line and "Traceback" not in said and "other: " not in said
    return "" if well and contents() == was else said


FULL = ("error: results/", "(No space left on device), expected room for it on that disk; make room and run again")
READ_ONLY = ("Read-only file system", "expected a disk that may be written to; mount it so, or work in another folder")
needs_mounts = pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0,
    reason="mounts of one's own take root",
)


def contents(study):
    """Path -> bytes of all that a study has made, but for logs, times (as in study.html) and unfinished training."""
    return {
        path: path.read_bytes()
        for path in study.results.rglob("*")
        if path.is_file() and not {"logs", "benchmarks", "unfinished", "study.html"} & set(path.parts)
    }


@pytest.mark.one_in(4)
@pytest.mark.parametrize("rule", RULES)
def test_a_full_disk_is_one_line_and_after_it_the_bytes_are_the_same(study, rule):
    name, arguments = commands(study)[rule]
    before = contents(study)
    status, said = job(study.folder, name, arguments, BYTES)
    assert status == 1, said
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "File too large" in line
    assert contents(study) == before
    status, said = job(study.folder, name, arguments)
    assert status == 0, said
    assert contents(study) == before
    assert not list(study.results.rglob("unfinished"))


@pytest.mark.one_in(4)
@needs_mounts
@pytest.mark.parametrize(("rule", "room"), [*((rule, 0) for rule in TRIED), *((rule, PAGE) for rule in LARGE)])
def test_on_a_disk_that_is_full_it_is_one_line_that_names_the_file(study, rule, room):
    name, arguments = commands(study)[rule]
    fill = partial(on_a_small_disk, study.results, room)
    made = partial(contents, study)
    assert refused(study.folder, study.results, name, arguments, FULL, made, fill) == ""


@needs_mounts
@pytest.mark.parametrize("rule", TRIED)
def test_a_disk_that_is_mounted_read_only_is_one_line(study, rule):
    name, arguments = commands(study)[rule]
    mount = partial(mounted_read_only, study.results)
    assert refused(study.folder, study.results, name, arguments, READ_ONLY, partial(contents, study), mount) == ""


def test_every_rule_of_the_study_is_among_them(study):
    assert {rule for rule in commands(study) if not rule.startswith("draw_")} - {"report"} <= set(RULES)
