"""A full disk is one line in every kind of job, leaves nothing behind, and costs nothing once there is room again.

A disk that is mounted read-only is one line too.
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
from importlib import import_module

import pytest

from mcoherence.files import provenance
from tests.workflow.conftest import copy_study
from workflow_scripts.jobs.entry import run

pytestmark = [pytest.mark.slow, pytest.mark.apart]

CLONE_NEWNS = 0x20000
BYTES = 100  # of the largest file, where the disk is "full"
COMMAND = re.compile(r"python -m workflow_scripts\.(\w+) (.*?) > ", re.DOTALL)
RULES = (
    "prepare_dataset", "corrupt_labels", "check_network", "train", "train_from_6", "evaluate", "measure_coherence",
    "measure_contributions", "score_difficulty", "split_easy_hard", "tabulate", "draw_easy_hard", "check_claims",
    "describe_study",
)  # fmt: skip


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


def mounted_read_only(folder):
    """Make a folder one that nothing can be written to, for this process alone; it takes root."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNS):
        raise OSError("no mounts of one's own here")
    for options in (["--make-rprivate", "/"], ["--bind", folder, folder], ["-o", "remount,ro,bind", folder]):
        subprocess.run(["mount", *options], check=True)


def job(folder, name, arguments, largest=resource.RLIM_INFINITY, read_only=None):
    """Exit status of a job, and what it says.

    No file that it writes may be larger than so many bytes, and nothing can be written to the folder `read_only`.
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
            sys.argv = [name, *arguments]
            provenance.git_commit = lambda: "unknown"  # as in the copy of the workflow, which is no repository
            if read_only is not None:
                mounted_read_only(read_only)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
            run(module.main)
            status = 0
        except SystemExit as end:
            print(end.code, file=sys.stderr)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader) as said:
        text = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), text


def contents(study):
    """Path -> bytes of all that a study has made, but for logs, times (as in study.html) and unfinished training."""
    return {
        path: path.read_bytes()
        for path in study.results.rglob("*")
        if path.is_file() and not {"logs", "benchmarks", "unfinished", "study.html"} & set(path.parts)
    }


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


@pytest.mark.parametrize("rule", ["prepare_dataset", "train", "tabulate", "describe_study"])
def test_a_disk_that_is_mounted_read_only_is_one_line(study, rule):
    if not shutil.which("unshare") or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("it takes root")
    name, arguments = commands(study)[rule]
    before = contents(study)
    status, said = job(study.folder, name, arguments, read_only=study.results)
    assert status == 1, said
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "Read-only file system" in line
    assert "expected a disk that may be written to; mount it so, or work in another folder" in line
    assert contents(study) == before


def test_every_rule_of_the_study_is_among_them(study):
    assert {rule for rule in commands(study) if not rule.startswith("draw_")} - {"page", "report"} <= set(RULES)
