"""Files are whole or not there."""

import pytest

from mcoherence.files.atomic import atomic_path, copy_file, write_text


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


def test_text_and_copies_have_the_bytes_that_were_handed_over(tmp_path):
    write_text(tmp_path / "deep" / "a", "Größe\n")
    copy_file(tmp_path / "deep" / "a", tmp_path / "b")
    assert (tmp_path / "deep" / "a").read_bytes() == (tmp_path / "b").read_bytes() == "Größe\n".encode()
