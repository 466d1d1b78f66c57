"""A machine without much: a home that cannot be written to, no git, and a process that jobs are copies of which dies.

The study ends with the same bytes as elsewhere.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.bench import HANGS, MARK, SNAKEMAKE, TOKEN, new_study, shared_folder, started
from tests.faults.short_studies import CONFIGS, fresh

pytestmark = pytest.mark.slow


def programs_without_git(folder: Path) -> Path:
    """A folder with links to the programs of this machine, but for git."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in sorted(Path(place).glob("*")):
            if not program.name.startswith("git") and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    return folder


def copy_server_at_work() -> psutil.Process | None:
    """The process that jobs are copies of, once it has one."""
    for process in psutil.process_iter():
        try:
            of_this_test = process.environ().get(MARK) == TOKEN
            if of_this_test and "workflow_scripts.jobs.copy_server" in process.cmdline() and process.children():
                return process
        except psutil.Error:  # it has ended meanwhile
            continue
    return None


def test_a_study_ends_with_the_same_bytes(tmp_path, tmp_path_factory):
    expected = fresh(shared_folder(tmp_path_factory), CONFIGS[0]).contents()
    study = new_study(tmp_path / "study", "")
    CONFIGS[0].ask_of(study)
    environment = {name: value for name, value in os.environ.items() if name not in ("MPLCONFIGDIR", "TORCH_HOME")}
    path = os.pathsep.join([str(Path(sys.executable).parent), str(programs_without_git(tmp_path / "bin"))])
    environment |= {"HOME": "/proc/none", "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": path}
    assert shutil.which("git", path=path) is None

    def start():
        with (study.folder / "said").open("w") as output:
            command = [SNAKEMAKE, "--configfile", "study.yaml", "--cores", "2", "--quiet", "reason"]
            return started(command, cwd=study.folder, stdout=output, stderr=subprocess.STDOUT, env=environment)

    first = start()
    while (server := copy_server_at_work()) is None:
        assert first.poll() is None, study.said()[-5000:]
        time.sleep(0.01)
    server.kill()
    assert first.wait(timeout=HANGS) != 0
    errors = {line for line in study.said().splitlines() if line.startswith("error: ")}
    assert errors == {"error: the process that this job was copied from has ended, and the job with it; start it again"}
    assert "Traceback" not in study.said()
    assert start().wait(timeout=HANGS) == 0, study.said()[-5000:]
    assert study.contents() == expected
