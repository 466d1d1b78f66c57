"""What a result file says of its origin."""

import pytest

from mcoherence.files import provenance as module
from mcoherence.files.digests import sha256_of
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.files.provenance import Provenance, digest_of, git_commit, merged_provenance, provenance

SCHEMA = "mcoherence/test/1"
CONTENT = {"names": ["first", "zweite"]}


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "file.h5"
    write_hdf5(file, SCHEMA, CONTENT, {})
    return file


def test_provenance_names_settings_inputs_code_and_versions(path):
    record = provenance({"lr": 0.1}, [path], code="0123").as_attributes()
    assert record["settings"] == {"lr": 0.1}
    assert record["code"] == "0123"
    assert record["inputs"] == {str(path): sha256_of(path)}
    assert set(record["versions"]) == {"python", "torch", "numpy", "h5py", "scikit-learn"}
    assert record["git_commit"] == git_commit() != ""


def test_it_comes_back_from_attributes_whatever_else_is_among_them(path):
    origin = provenance({"lr": 0.1}, [path])
    assert Provenance.from_attributes({**origin.as_attributes(), "run": {"seed": 0}}) == origin


def test_of_parts_it_names_every_input_and_each_machine_once():
    settings = {"lr": 0.1}
    parts = [
        Provenance(settings, {"a": "1", "b": "2"}, "abc", {"torch": "2.11", "numpy": "2"}, "cuda (NVIDIA H200)"),
        Provenance(settings, {"a": "1", "c": "3"}, "abc", {"torch": "2.15", "numpy": "2"}, "cpu"),
        Provenance(settings, {"a": "1", "d": "4"}, "abc", {"torch": "2.11", "numpy": "2"}, "cpu"),
    ]
    versions = {"torch": "2.11; 2.15", "numpy": "2"}
    inputs = {"a": "1", "b": "2", "c": "3", "d": "4"}
    assert merged_provenance(parts) == Provenance(settings, inputs, "abc", versions, "cuda (NVIDIA H200); cpu")


def test_sha256_is_the_standard_one(tmp_path):
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    assert sha256_of(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_is_recorded_of_an_input_is_the_sha256_of_its_bytes(path):
    write_hdf5(path, SCHEMA, CONTENT, {"content_sha256": "ab12"})
    assert digest_of(path) == sha256_of(path)


def test_of_images_too_large_to_hash_in_every_job_it_is_the_digest_of_their_content(path, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WHOLE_BYTES", 100)
    assert digest_of(path) == sha256_of(path)  # it carries no such digest
    write_hdf5(path, SCHEMA, CONTENT, {"content_sha256": "ab12"})
    assert digest_of(path) == "content_sha256:ab12"
    text = tmp_path / "images.h5"
    text.write_bytes(b"x" * 200)
    assert digest_of(text) == sha256_of(text)
