"""One trainer a run, and no lock that outlives its holder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mcoherence.errors import UserError
from mcoherence.training.lock import only_trainer

ROOT = Path(__file__).parents[3]


def test_a_second_trainer_of_a_run_is_refused_in_one_line(tmp_path):
    lock = tmp_path / "state/lock"
    with only_trainer(lock):
        message = rf"another trainer of this run is at work \(process {os.getpid()} on .*; wait for it or end it"
        with pytest.raises(UserError, match=message), only_trainer(lock, seconds=0.3):
            pass
    assert not lock.exists()
    with only_trainer(lock, seconds=0):
        assert lock.exists()


def test_a_lock_file_without_a_holder_keeps_nobody_out(tmp_path):
    """What a trainer that was killed leaves behind."""
    (tmp_path / "lock").write_text("process 1 on elsewhere")
    with only_trainer(tmp_path / "lock", seconds=0):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()


def test_the_lock_of_a_killed_trainer_is_free_again(tmp_path):
    lock = tmp_path / "lock"
    code = (
        "import sys, time; from pathlib import Path; from mcoherence.training.lock import only_trainer\n"
        "with only_trainer(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout.readline() == b"held\n"
        message = rf"another trainer of this run is at work \(process {holder.pid} on"
        with pytest.raises(UserError, match=message), only_trainer(lock, seconds=0.3):
            pass
        holder.send_signal(signal.SIGKILL)
    with only_trainer(lock, seconds=0):
        assert f"process {os.getpid()} on" in lock.read_text()


def test_who_waits_gets_the_lock_although_its_holder_removes_the_file(tmp_path):
    """The file that the waiting process has opened is gone by then; a lock on it would keep nobody out."""
    lock = tmp_path / "lock"
    code = (
        "import sys; from pathlib import Path; from mcoherence.training.lock import only_trainer\n"
        "print('waiting', flush=True)\n"
        "with only_trainer(Path(sys.argv[1])):\n    print(Path(sys.argv[1]).read_text(), flush=True)\n    input()"
    )
    with only_trainer(lock):
        waiting = subprocess.Popen(
            [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        assert waiting.stdout.readline() == b"waiting\n"
    assert waiting.stdout.readline().startswith(f"process {waiting.pid} on".encode())
    with pytest.raises(UserError, match=f"process {waiting.pid} on"), only_trainer(lock, seconds=0.3):
        pass
    waiting.communicate(b"\n")
    assert waiting.returncode == 0
    assert not lock.exists()
