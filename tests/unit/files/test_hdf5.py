"""HDF5 files: self-describing, equal bytes for equal content, and refused when damaged."""

import json

import h5py
import numpy as np
import pytest

from mcoherence.errors import UserError
from mcoherence.files.hdf5 import open_hdf5, read_names, write_hdf5

SCHEMA = "mcoherence/test/1"
CONTENT = {"a/values": np.arange(1000.0), "names": ["first", "zweite"], "empty": np.empty((0, 3))}


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "deep" / "file.h5"
    write_hdf5(file, SCHEMA, CONTENT, {"settings": {"b": 1, "a": [2]}, "mean": [0.5, 1.5]})
    return file


def test_round_trip(path):
    with open_hdf5(path, SCHEMA) as file:
        assert np.array_equal(file["a/values"][:], CONTENT["a/values"])
        assert read_names(file, "names") == CONTENT["names"]
        assert file["empty"].shape == (0, 3)
        assert json.loads(file.attrs["settings"]) == {"a": [2], "b": 1}
        assert file.attrs["mean"].tolist() == [0.5, 1.5]
        assert file["a/values"].fletcher32


def test_equal_content_gives_equal_bytes(path, tmp_path):
    again = tmp_path / "again.h5"
    write_hdf5(again, SCHEMA, CONTENT, {"mean": [0.5, 1.5], "settings": {"a": [2], "b": 1}})
    assert path.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("expected", "way_out"),
    [
        ("mcoherence/other/1", "it is a file of another kind, look at the path"),  # and keep it
        ("mcoherence/test/2", "delete the file and run again"),
    ],
)
def test_another_schema_is_refused(path, expected, way_out):
    with (
        pytest.raises(UserError, match=f"found mcoherence/test/1, expected {expected}; {way_out}"),
        open_hdf5(path, expected),
    ):
        pass


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"gone\.h5: not found"), open_hdf5(tmp_path / "gone.h5", SCHEMA):
        pass


def test_an_incomplete_file_is_refused(path):
    with h5py.File(path, "a") as file:
        del file["names"]
    with pytest.raises(UserError, match="incomplete, names is missing"), open_hdf5(path, SCHEMA):
        pass


def test_a_cut_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match="damaged"), open_hdf5(path, SCHEMA):
        pass


def test_a_flipped_bit_is_found_by_the_checksum(path):
    with h5py.File(path, "r") as file:
        offset = file["a/values"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"), open_hdf5(path, SCHEMA) as file:
        file["a/values"][:]
