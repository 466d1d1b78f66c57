"""Every kind of result file says what made it, and each version of a file is read once."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from mcoherence.audit import origins as module
from mcoherence.audit.origins import Origins, read_provenance, says_its_origin
from mcoherence.errors import UserError
from mcoherence.figures.saving import save_figure
from mcoherence.files.canonical import canonical_json
from mcoherence.files.digests import sha256_of
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.files.json_csv import write_sealed_json
from mcoherence.files.provenance import Provenance
from mcoherence.files.tables import write_table
from mcoherence.files.tensors import write_tensors
from mcoherence.training.state import TrainingState, write_state

ORIGIN = Provenance(
    {"lr": 0.1, "name": "<&'\">"}, {"a.h5": "12"}, "abc", {"torch": "2"}, "cpu", code="0123456789abcdef"
)
ATTRIBUTES = ORIGIN.as_attributes()


def write_checkpoint(path, origin=ORIGIN):
    text = canonical_json(origin.as_attributes())
    write_tensors(path, {"w": torch.ones(3)}, {"provenance": text})


WRITERS = {
    "coherence.h5": lambda path: write_hdf5(path, "mcoherence/test/1", {"x": np.ones(2)}, ATTRIBUTES),
    "step2.safetensors": write_checkpoint,
    "update2.safetensors": lambda path: write_state(
        path, TrainingState(2, {"w": torch.ones(3)}), provenance=ATTRIBUTES
    ),
    "accuracy.parquet": lambda path: write_table(pd.DataFrame({"x": [1]}), path.with_suffix(".csv"), path, ORIGIN),
    "summary.png": lambda path: save_figure(Figure((1, 1)), path, path.with_suffix(".pdf"), 20, ORIGIN),
    "claims.json": lambda path: write_sealed_json(path, {"claims": [], "provenance": ATTRIBUTES}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_file_was_made_by_is_read_from_it(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](path)
    assert says_its_origin(name)
    assert read_provenance(path) == ORIGIN


@pytest.mark.parametrize("name", ["coherence.h5", "step2.safetensors", "accuracy.parquet", "claims.json"])
def test_a_file_that_was_cut_off_is_refused(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](path)
    os.truncate(path, path.stat().st_size - 2)
    with pytest.raises(UserError, match=f"{name}: missing, damaged or not a result file"):
        read_provenance(path)


def test_a_file_of_a_version_that_kept_no_code_says_none(tmp_path):
    old = {key: value for key, value in ATTRIBUTES.items() if key != "code"}
    write_hdf5(tmp_path / "labels.h5", "mcoherence/test/1", {}, old)
    assert read_provenance(tmp_path / "labels.h5") == replace(ORIGIN, code="")


def test_logs_copies_of_tables_and_snakemakes_report_say_nothing():
    assert not any(map(says_its_origin, ("log.csv", "f.pdf", "x/config.json", "x/claims.html", "x/report.html")))


@pytest.fixture
def reads(monkeypatch):
    """The files that were read, one after the other."""
    found = []
    monkeypatch.setattr(module, "read_provenance", lambda path: found.append(path.name) or read_provenance(path))
    monkeypatch.setattr(module, "digest_of", lambda path: found.append(f"{path.name}'s digest") or sha256_of(path))
    return found


def test_what_was_read_is_read_again_only_where_the_file_changed(tmp_path, reads):
    path, kept = tmp_path / "step2.safetensors", tmp_path / "code/origins.json"
    write_checkpoint(path)
    first = Origins(kept)
    assert first.of(str(path)).code == ORIGIN.code
    assert first.of(str(path)).inputs == ORIGIN.inputs
    assert json.loads(first.of(str(path)).settings) == ORIGIN.settings
    assert first.digest(str(path)) == sha256_of(path)
    assert reads == ["step2.safetensors", "step2.safetensors's digest"]
    first.keep()
    again = Origins(kept)
    assert again.of(str(path)) == first.of(str(path))
    assert again.digest(str(path)) == sha256_of(path)
    assert len(reads) == 2
    before = path.stat()
    write_checkpoint(path, replace(ORIGIN, code="fedcba9876543210"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # of the same size, and as if as old
    assert path.stat().st_size == before.st_size
    assert Origins(kept).of(str(path)).code == "fedcba9876543210"
    assert len(reads) == 3


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": "another"}', '{"format": "mcoherence/origins/2", "files": {"FILE": 3}}']
)
def test_a_kept_file_that_is_damaged_or_something_else_is_made_anew(tmp_path, content):
    path, kept = tmp_path / "step2.safetensors", tmp_path / "origins.json"
    write_checkpoint(path)
    kept.write_text(content.replace("FILE", str(path)))
    found = Origins(kept)
    assert found.of(str(path)).code == ORIGIN.code
    found.keep()
    assert json.loads(kept.read_text())["files"].keys() == {str(path)}


def test_a_damaged_file_is_remembered_and_one_that_is_gone_is_forgotten(tmp_path, reads):
    path, kept = tmp_path / "coherence.h5", tmp_path / "origins.json"
    path.write_bytes(b"nothing")
    for _ in range(2):
        found = Origins(kept)
        assert found.version(str(path)) is not None
        assert found.of(str(path)) is None
        found.keep()
    assert reads == ["coherence.h5"]
    path.unlink()
    found = Origins(kept)
    assert found.version(str(path)) is None
    write_checkpoint(tmp_path / "step2.safetensors")
    found.of(str(tmp_path / "step2.safetensors"))
    found.keep()
    assert json.loads(kept.read_text())["files"].keys() == {str(tmp_path / "step2.safetensors")}


def test_a_file_that_cannot_be_read_now_is_not_taken_for_a_damaged_one(tmp_path, monkeypatch):
    path = tmp_path / "claims.json"
    WRITERS["claims.json"](path)

    def locked(*_):
        raise PermissionError(errno.EACCES, "permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(module.Path, "read_bytes", locked)
        with pytest.raises(UserError, match=r"claims.json: cannot be read now \(permission denied\)") as refused:
            Origins(tmp_path / "kept.json").of(str(path))
        assert "delete" not in str(refused.value)
    found = Origins(tmp_path / "kept.json").of(str(path))
    assert found is not None
    assert found.code == ORIGIN.code


@pytest.mark.parametrize("name", ["a.h5", "difficulty.png", "t.parquet", "a.safetensors", "claims.json", "study.html"])
def test_a_folder_in_the_place_of_a_file_is_to_be_moved_away(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError) as caught:
        read_provenance(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: found a folder, expected a file; move it away and run again"
