"""A file that cannot be read now is called that, by every reader: never damaged, and nobody is told to delete it."""

import errno
from pathlib import Path

import pytest

from mcoherence.errors import UserError
from mcoherence.files.hdf5 import open_hdf5
from mcoherence.files.json_csv import read_sealed_json
from mcoherence.files.page import check_page
from mcoherence.files.pictures import picture_texts
from mcoherence.files.tables import read_table
from mcoherence.files.tensors import read_header

READERS = {
    "a.h5": lambda path: open_hdf5(path, "mcoherence/labels/2").__enter__(),
    "a.json": lambda path: read_sealed_json(path, "delete it"),
    "a.html": lambda path: check_page(path, [], "delete it"),
    "a.png": picture_texts,
    "a.parquet": read_table,
    "a.safetensors": lambda path: read_header(path, "checkpoint"),
}
REFUSALS = {
    errno.EACCES: "Permission denied", errno.EAGAIN: "Resource temporarily unavailable",
    errno.EIO: "Input/output error", errno.EMFILE: "Too many open files",
}  # fmt: skip


@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize("name", READERS)
def test_what_the_system_does_not_let_us_read_is_not_called_damaged(tmp_path, monkeypatch, name, number):
    path = tmp_path / name
    path.write_bytes(b"content")

    def refused(*_arguments, **_options):
        raise OSError(number, REFUSALS[number], str(path))

    for reading in ("read_bytes", "open"):
        monkeypatch.setattr(Path, reading, refused)
    with pytest.raises(UserError, match=rf"{name}: cannot be read now \({REFUSALS[number]}\)") as caught:
        READERS[name](path)
    assert "delete" not in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_a_file_system_without_locks_is_told_with_the_way_out(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    path.write_bytes(b"content")

    def refused(*_arguments, **_options):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("mcoherence.files.hdf5.h5py.File", refused)
    with pytest.raises(UserError, match=r"this file system has no locks; HDF5_USE_FILE_LOCKING=FALSE"):
        open_hdf5(path, "mcoherence/labels/2").__enter__()
