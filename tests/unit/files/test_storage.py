"""Result files: atomic, self-describing, equal bytes for equal content, and refused when damaged."""

import json

import h5py
import numpy as np
import pytest

from mcoherence.errors import UserError
from mcoherence.files import storage
from mcoherence.files.provenance import git_commit, provenance
from mcoherence.files.storage import (
    atomic_path,
    canonical_json,
    digest_of,
    open_hdf5,
    read_names,
    sha256_of,
    write_hdf5,
    write_json,
)

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


def test_another_schema_is_refused(path):
    with (
        pytest.raises(UserError, match="found mcoherence/test/1, expected mcoherence/other/1"),
        open_hdf5(path, "mcoherence/other/1"),
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


def test_canonical_json_is_equal_for_equal_settings():
    assert canonical_json({"b": 1.0, "a": {"y": (1, 2), "x": 0.5}}) == '{"a":{"x":0.5,"y":[1,2]},"b":1}'
    assert canonical_json({"a": {"x": 0.5, "y": [1.0, 2]}, "b": 1}) == canonical_json(
        {"b": 1.0, "a": {"y": (1, 2), "x": 0.5}}
    )


def test_json_refuses_values_that_other_readers_cannot_parse(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"value": float("nan")})
    assert not list(tmp_path.iterdir())


def test_provenance_names_settings_inputs_code_and_versions(path):
    record = provenance({"lr": 0.1}, [path])
    assert record["settings"] == {"lr": 0.1}
    assert record["inputs"] == {str(path): sha256_of(path)}
    assert set(record["versions"]) == {"python", "torch", "numpy", "h5py", "scikit-learn"}
    assert record["git_commit"] == git_commit() != ""


def test_sha256_is_the_standard_one(tmp_path):
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    assert sha256_of(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_is_recorded_of_an_input_is_the_sha256_of_its_bytes(path):
    write_hdf5(path, SCHEMA, CONTENT, {"content_sha256": "ab12"})
    assert digest_of(path) == sha256_of(path)


def test_of_images_too_large_to_hash_in_every_job_it_is_the_digest_of_their_content(path, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "WHOLE_BYTES", 100)
    assert digest_of(path) == sha256_of(path)  # it carries no such digest
    write_hdf5(path, SCHEMA, CONTENT, {"content_sha256": "ab12"})
    assert digest_of(path) == "content_sha256:ab12"
    text = tmp_path / "images.h5"
    text.write_bytes(b"x" * 200)
    assert digest_of(text) == sha256_of(text)
