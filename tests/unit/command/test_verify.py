"""`mcoherence verify` says one line where a file is as it was written, and names each that is not."""

import json
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from mcoherence.files.hdf5 import write_hdf5
from mcoherence.files.provenance import provenance
from mcoherence.files.tables import write_table
from mcoherence.files.tensors import write_tensors

from .conftest import FOLDER, NETWORK, QUICK


def said(place, capsys, path):
    """Status and lines of `verify`."""
    capsys.readouterr()
    status = place.run("verify", path)
    return status, capsys.readouterr().out.splitlines()


def changed_byte(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_coherence_file_is_verified_with_what_it_was_made_from(place, measured, capsys):
    assert said(place, capsys, measured) == (0, [f"{measured}: 1 file as written; 2 inputs as they were"])


@pytest.mark.parametrize("where", [100, 5000, -100, -10])
def test_any_changed_byte_is_found(place, measured, capsys, where):
    changed_byte(measured, where)
    status, (line,) = said(place, capsys, measured)
    assert status == 1
    assert line.startswith(f"{measured}: ")


def test_a_changed_number_a_changed_setting_and_a_cut_are_found(place, measured, tmp_path, capsys):
    for name, damage in (
        ("number", lambda file: file["sum_sq_norm"].__setitem__((0, 0, 0), 1.0)),
        (
            "setting",
            lambda file: file.attrs.__setitem__("settings", file.attrs["settings"].replace("photos", "others")),
        ),
        ("other", lambda file: file.create_dataset("more", data=[1])),
    ):
        path = tmp_path / f"{name}.h5"
        shutil.copy2(measured, path)
        with h5py.File(path, "r+") as file:
            damage(file)
        status, (line,) = said(place, capsys, path)
        assert status == 1
        assert line.startswith(f"{path}: ")
    cut = tmp_path / "cut.h5"
    cut.write_bytes(measured.read_bytes()[:-200])
    assert said(place, capsys, cut)[0] == 1


def test_other_weights_and_other_images_than_were_measured_are_found(place, measured, capsys):
    for path in (place.folder / "weights.pt", place.folder / "photos/class1/05.png"):
        kept = path.read_bytes()
        path.write_bytes(kept + b"0")
        status, lines = said(place, capsys, measured)
        path.write_bytes(kept)
        assert status == 1
        assert all(line.startswith(f"{measured}: made from ") for line in lines)
        assert path.relative_to(place.folder).parts[0] in lines[0]


def test_inputs_that_are_gone_are_counted_and_no_fault(place, measured, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert said(place, capsys, measured) == (
        0,
        [f"{measured}: 1 file as written; 0 inputs as they were, 2 not found from here"],
    )


def test_every_damaged_file_of_a_folder_is_named_in_a_line_of_its_own(place, measured, tmp_path, capsys):
    folder = tmp_path / "files"
    folder.mkdir()
    shutil.copy2(measured, folder / "good.h5")
    shutil.copy2(measured, folder / "bad.h5")
    changed_byte(folder / "bad.h5", 3000)
    origin = provenance({}, [])
    metadata = {"provenance": json.dumps(origin.as_attributes())}
    write_tensors(folder / "bad.safetensors", {"w": torch.ones(3)}, metadata)
    changed_byte(folder / "bad.safetensors", -1)
    write_table(pd.DataFrame({"a": [1, 2]}), folder / "t.csv", folder / "t.parquet", origin)
    (folder / "t.csv").write_text("a\n1\n3\n")
    write_hdf5(folder / "unknown.h5", "mcoherence/other/1", {"a": np.ones(2)}, origin.as_attributes())
    status, lines = said(place, capsys, folder)
    assert status == 1
    assert [line.partition(": ")[0] for line in lines] == [
        str(folder / name) for name in ("bad.h5", "bad.safetensors", "t.csv", "unknown.h5")
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.h5", "nothing.h5: not found, expected a result file"),
        ("weights.pt", "weights.pt: found a file that carries no seal of this project"),
        ("photos/class0", "found no result file of mcoherence in it"),
    ],
)
def test_what_cannot_be_verified_is_said(place, capsys, name, message):
    if name == "photos/class0":
        (place.folder / "bare").mkdir(exist_ok=True)
        name = "bare"
    assert place.run("verify", name) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_shard_is_a_result_file_too(place, tmp_path, capsys):
    shard = tmp_path / "shard.h5"
    assert place.run("measure", *NETWORK, *FOLDER, *QUICK, "--shard", "1/2", "--out", shard) == 0
    assert said(place, capsys, shard)[0] == 0
