"""What was read off source files is found again by their bytes, and never taken from a damaged file."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from mcoherence.study import code_digest, known_sources
from mcoherence.study.known_sources import KnownSources, folder_of_user


def sealed(text):
    return hashlib.sha256(text).hexdigest().encode() + b"\n" + text + b"\n"


def known(folder, reader=b"version 1"):
    return KnownSources(folder, reader)


@pytest.fixture
def folder(tmp_path):
    """A folder in which is kept that the source "a" has "of a", in one file."""
    first = known(tmp_path / "cache")
    first.add(b"a", "of a")
    first.keep()
    return tmp_path / "cache"


def test_what_was_kept_is_known_by_bytes(folder):
    assert known(folder).of(b"a") == "of a"
    assert known(folder).of(b"a ") is None


def test_code_that_reads_otherwise_knows_nothing_of_it(folder):
    assert known(folder, b"version 2").of(b"a") is None


def test_another_python_knows_nothing_of_it(folder, monkeypatch):
    monkeypatch.setattr(known_sources.sys, "implementation", type("Other", (), {"name": "other"}))
    assert known(folder).of(b"a") is None


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content.replace(b"of a", b"of b"), id="a-value"),
        pytest.param(lambda content: content[:-3], id="cut"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"\xff" + content[1:], id="the-seal"),
        pytest.param(lambda content: content.partition(b"\n")[2], id="no-seal"),
        pytest.param(lambda content: sealed(b"[]"), id="no-table"),
        pytest.param(lambda content: sealed(b"{"), id="no-json"),
    ],
)
def test_a_damaged_file_is_as_good_as_none(folder, damage):
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    again = known(folder)
    assert again.of(b"a") is None
    again.add(b"a", "of a")
    again.keep()
    assert known(folder).of(b"a") == "of a"


def test_nothing_is_written_where_nothing_is_new(folder):
    (file,) = folder.iterdir()
    file.chmod(0o400)
    before = file.stat().st_mtime_ns
    again = known(folder)
    again.of(b"a")
    again.keep()
    assert file.stat().st_mtime_ns == before


def test_where_nothing_can_be_kept_it_goes_on(tmp_path):
    (tmp_path / "file").touch()
    for folder in (None, tmp_path / "file" / "below"):
        one = known(folder)
        one.add(b"a", "of a")
        one.keep()
        assert one.of(b"a") == "of a"
        assert known(folder).of(b"a") is None


def test_so_many_are_kept_those_in_use_first(folder, monkeypatch):
    monkeypatch.setattr(known_sources, "MOST", 3)
    second = known(folder)
    for source in (b"b", b"c"):
        second.add(source, "other")
    second.keep()
    third = known(folder)
    third.of(b"a")
    third.add(b"d", "other")
    third.keep()
    assert [known(folder).of(source) is not None for source in (b"a", b"b", b"c", b"d")] == [True, False, True, True]


def test_a_pipe_in_its_place_is_not_waited_for(folder):
    (file,) = folder.iterdir()
    file.unlink()
    os.mkfifo(file)
    assert known(folder).of(b"a") is None


def test_two_starts_at_once_keep_what_both_read(folder):
    one, other = known(folder), known(folder)
    one.add(b"b", "of b")
    other.add(b"c", "of c")
    one.keep()
    other.keep()
    assert [known(folder).of(source) for source in (b"a", b"b", b"c")] == ["of a", "of b", "of c"]


def test_what_other_code_kept_goes_after_a_month_without_anything_new(folder):
    (old,) = folder.iterdir()
    for days, left in ((29, 2), (31, 1)):
        then = time.time() - days * 24 * 3600
        os.utime(old, (then, then))
        newer = known(folder, b"version 2")
        newer.add(b"%d" % days, "other")
        newer.keep()
        assert len(list(folder.iterdir())) == left


@pytest.mark.parametrize("named", ["", "relative", "/a/b"])
def test_the_folder_is_that_of_the_user(named, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", named)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder_of_user() == (Path("/a/b") if named == "/a/b" else tmp_path / ".cache") / "mcoherence"


@pytest.mark.parametrize("home", ["", "relative", "/nowhere/at/all", None])
def test_a_user_without_a_home_has_none(home, monkeypatch, tmp_path):
    (tmp_path / "relative").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME") if home is None else monkeypatch.setenv("HOME", home)
    assert folder_of_user() is None


def test_a_source_that_is_known_has_the_digest_and_the_imports_of_one_that_is_parsed(tmp_path, monkeypatch):
    package = tmp_path / "code" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .one import a\nOPERATIONAL = True\n")
    (package / "one.py").write_text("from . import two\nimport package.three, os\n")
    (package / "two.py").write_text('"""Two."""\nOPERATIONAL = True\n')
    (package / "three.py").write_text("x = 1\n")

    def at_a_new_start():
        code_digest._known.cache_clear()
        code_digest._read_version.cache_clear()
        return code_digest.module_digests("package.one", tmp_path / "code")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    parsed = at_a_new_start()
    code_digest.keep_what_was_read()
    with monkeypatch.context() as without:
        without.setattr(code_digest, "_parsed", None)
        assert at_a_new_start() == parsed
    assert parsed.keys() == {"package.one", "package.three"}
    (package / "three.py").write_text("x = 2\n")
    with monkeypatch.context() as edited:  # while the study starts: what is read belongs to the code that runs
        edited.setattr(code_digest, "_own_code", lambda: b"edited")
        at_a_new_start()
        code_digest.keep_what_was_read()
    code_digest._known.cache_clear()
    assert code_digest._known().of(b"x = 2\n") is None
    changed = at_a_new_start()
    assert {name for name in parsed if parsed[name] != changed[name]} == {"package.three"}
    code_digest._known.cache_clear()
    code_digest._read_version.cache_clear()
