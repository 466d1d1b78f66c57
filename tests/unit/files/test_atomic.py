"""Files are whole or not there."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mcoherence.files.atomic import atomic_path, copy_file, naming, write_text


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("before")

    def write_half():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux that is always full")
def test_a_write_that_the_disk_refuses_carries_the_name_of_its_file():
    full = Path("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as unnamed:
        full.write_text("x")
    assert unnamed.value.filename is None
    with pytest.raises(OSError, match="No space left on device") as named, naming(full):
        full.write_text("x")
    assert named.value.filename == "/dev/full"


def test_text_and_copies_have_the_bytes_that_were_handed_over(tmp_path):
    write_text(tmp_path / "deep" / "a", "Größe\n")
    copy_file(tmp_path / "deep" / "a", tmp_path / "b")
    assert (tmp_path / "deep" / "a").read_bytes() == (tmp_path / "b").read_bytes() == "Größe\n".encode()


WRITES_AND_WAITS = """
import sys
from pathlib import Path
from mcoherence.files.atomic import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("written", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_writer_left_goes_with_the_next_one_and_what_is_being_written_stays(tmp_path):
    target = tmp_path / "result.txt"

    def writer() -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITES_AND_WAITS, str(target)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout.readline() == "written\n"
        return process

    killed, writing = writer(), writer()
    killed.kill()
    killed.communicate()
    of_others = [tmp_path / f".result.txt.another-host.{os.getpid()}.tmp", tmp_path / ".result.txt.mine.tmp"]
    of_others += [tmp_path / f".result.txt.other.{socket.gethostname()}.{killed.pid}.tmp"]
    for path in of_others:
        path.write_text("another's")
    write_text(target, "whole")
    being_written = tmp_path / f".result.txt.{socket.gethostname()}.{writing.pid}.tmp"
    assert set(tmp_path.iterdir()) == {target, being_written, *of_others}
    os.utime(of_others[0], (0, 0))
    write_text(target, "again")
    assert not of_others[0].exists()
    writing.communicate("")
    assert writing.returncode == 0
    assert target.read_text() == "half"
