"""What a result file says of its origin."""

import re

import h5py
import pandas as pd
import pytest
import torch

from mcoherence.files.digests import sha256_of
from mcoherence.files.hdf5 import open_hdf5, read_names, write_hdf5
from mcoherence.files.provenance import Provenance, digest_of, git_commit, merged_provenance, provenance
from mcoherence.files.tables import write_table
from mcoherence.files.tensors import write_tensors

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
    assert record["inputs"] == {str(path): digest_of(path)}
    assert set(record["versions"]) == {"python", "mcoherence", "torch", "numpy", "h5py", "scikit-learn"}
    assert record["git_commit"] == git_commit() != ""


def test_it_comes_back_from_attributes_whatever_else_is_among_them(path):
    origin = provenance({"lr": 0.1}, [path])
    assert Provenance.from_attributes({**origin.as_attributes(), "run": {"seed": 0}}) == origin


def test_of_parts_it_names_every_input_and_each_machine_once():
    settings = {"lr": 0.1}
    parts = [
        Provenance(
            settings, {"a": "1", "b": "2"}, "abc", {"torch": "2.11", "numpy": "2"}, "cuda (NVIDIA H200)", "tf32"
        ),
        Provenance(settings, {"a": "1", "c": "3"}, "abc", {"torch": "2.15", "numpy": "2"}, "cpu", "ieee"),
        Provenance(settings, {"a": "1", "d": "4"}, "abc", {"torch": "2.11", "scikit-learn": "1"}, "cpu", "ieee"),
    ]
    versions = {"torch": "2.11; 2.15", "numpy": "2; none", "scikit-learn": "none; 1"}
    inputs = {"a": "1", "b": "2", "c": "3", "d": "4"}
    merged = Provenance(settings, inputs, "abc", versions, "cuda (NVIDIA H200); cpu", "tf32; ieee")
    assert merged_provenance(parts) == merged


def test_sha256_is_the_standard_one(tmp_path):
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    assert sha256_of(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_is_recorded_of_an_input_is_the_seal_that_it_carries(path, tmp_path):
    write_table(pd.DataFrame({"a": [1]}), tmp_path / "t.csv", tmp_path / "t.parquet")
    write_tensors(tmp_path / "c.safetensors", {"w": torch.ones(2)}, {})
    for sealed in (path, tmp_path / "t.parquet", tmp_path / "c.safetensors"):
        assert re.fullmatch("seal:[0-9a-f]{64}", digest_of(sealed))
    before = digest_of(path), digest_of(tmp_path / "c.safetensors")
    write_hdf5(path, SCHEMA, {"names": ["first", "zweiter"]}, {})
    write_tensors(tmp_path / "c.safetensors", {"w": torch.zeros(2)}, {})
    assert not {*before} & {digest_of(path), digest_of(tmp_path / "c.safetensors")}


def test_tensors_are_not_read_for_it(tmp_path, monkeypatch):
    write_tensors(tmp_path / "c.safetensors", {"w": torch.ones(10**5)}, {})
    expected = digest_of(tmp_path / "c.safetensors")
    content = (tmp_path / "c.safetensors").read_bytes()
    (tmp_path / "c.safetensors").write_bytes(content[: -(10**5)])
    assert digest_of(tmp_path / "c.safetensors") == expected


@pytest.mark.parametrize("name", ["a.h5", "a.safetensors", "a.parquet", "a.csv"])
def test_of_a_file_without_a_seal_it_is_the_sha256_of_its_bytes(tmp_path, name):
    for content in (b"", b"x", b"x" * 300):
        (tmp_path / name).write_bytes(content)
        assert digest_of(tmp_path / name) == sha256_of(tmp_path / name)


def test_a_file_too_large_for_a_seal_of_its_bytes_has_that_of_its_attributes(path, monkeypatch):
    monkeypatch.setattr("mcoherence.files.hdf5.SEALED_BYTES", 0)
    monkeypatch.setattr("mcoherence.files.seals.SEALED_BYTES", -100)
    write_hdf5(path, SCHEMA, CONTENT, {})
    with h5py.File(path) as file:
        assert digest_of(path) == f"seal:{file.attrs['seal']}"
    with open_hdf5(path, SCHEMA) as file:
        assert read_names(file, "names") == CONTENT["names"]


def test_without_git_the_commit_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit() == "unknown"
