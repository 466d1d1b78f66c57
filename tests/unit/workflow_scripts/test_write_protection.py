"""What may not be written to is one line, whose advice works; root may write wherever the disk can be written to."""

import errno
import os

import pytest

from mcoherence.errors import UserError
from mcoherence.files.faults import require_writable
from tests.remedies.following import cases_of, follow, follows
from workflow_scripts.write_protection import refusal_of_files


@pytest.fixture
def by_permissions(monkeypatch):
    """Let permissions decide what may be written, as they do for all but root."""
    monkeypatch.setattr(os, "access", lambda path, _: bool(os.stat(path).st_mode & 0o200))


def test_the_last_folder_that_is_there_is_asked(tmp_path, by_permissions):
    require_writable(tmp_path / "results/a")
    tmp_path.chmod(0o500)
    with pytest.raises(UserError) as caught:
        require_writable(tmp_path / "results/a")
    assert str(caught.value) == (
        f"{tmp_path}: refused by the system ({os.strerror(errno.EACCES)}), expected that this user may read and write "
        "there; change the permissions, or work in another folder"
    )
    tmp_path.chmod(0o700)


def test_a_file_is_named_with_the_number_of_others_and_the_folder_where_that_is_the_reason(tmp_path, by_permissions):
    files = [tmp_path / name for name in ("new", "a", "b")]
    for path in files[1:]:
        path.touch()
        path.chmod(0o400)
    assert refusal_of_files(files).startswith(
        f"{tmp_path}/a: found a file that may not be written to (and 1 more of its job), expected one that can be made"
    )
    tmp_path.chmod(0o500)
    assert refusal_of_files(files).startswith(f"{tmp_path}: refused by the system (Permission denied)")
    tmp_path.chmod(0o700)


@follows(
    "{}: found a file that may not be written to{}, expected one that can be made again; allow it (chmod u+w), or move"
)
def a_file_that_may_not_be_written(tmp_path, by_permissions):
    path = tmp_path / "images.h5"

    def start():
        if path.exists() and not os.access(path, os.W_OK):  # as Snakemake asks
            raise UserError(refusal_of_files([path]))

    for mend in (lambda: path.touch(0o400), lambda: path.chmod(0o600), lambda: path.rename(tmp_path / "away")):
        mend()
        yield start


@cases_of(__name__)
def test_what_the_line_advises_lets_the_study_start(message, case, request):
    follow(message, case, request)
