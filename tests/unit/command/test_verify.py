"""`mcoherence verify` says one line where a file is as it was written, and names each that is not."""

import errno
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mcoherence import GradientStatistics, example_statistics, gradient_statistics
from mcoherence.audit.origins import read_provenance
from mcoherence.command.verify import is_study
from mcoherence.figures.panels import message_figure
from mcoherence.figures.saving import save_figure
from mcoherence.files.hdf5 import read_hdf5, write_hdf5
from mcoherence.files.provenance import provenance
from mcoherence.files.tables import write_table
from mcoherence.files.tensors import write_tensors
from mcoherence.gradients.storing import SUMS

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
        ("photos/class0", "found no results of a study in it, and no other files of mcoherence"),
    ],
)
def test_what_cannot_be_verified_is_said(place, capsys, name, message):
    if name == "photos/class0":
        (place.folder / "bare").mkdir(exist_ok=True)
        name = "bare"
    assert place.run("verify", name) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.fixture
def statistics(place):
    """What the library has measured of the images, and saves."""
    batches = [(place.inputs, place.targets)]
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    return gradient_statistics(place.model, loss, batches), example_statistics(place.model, loss, batches, "sum")


def test_saved_statistics_say_what_made_them_and_are_verified(place, statistics, tmp_path, capsys):
    for name, saved, settings in zip(
        ("sums.h5", "examples.hdf5"), statistics, ({}, {"along": ["sum"], "own_left_out": []}), strict=True
    ):
        path = tmp_path / name
        saved.save(path)
        origin = read_provenance(path)
        assert origin == provenance(settings, [], saved.device, "ieee")
        assert origin.device.startswith("cpu")
        assert said(place, capsys, path) == (0, [f"{path}: 1 file as written; no inputs are named"])
        changed_byte(path, 3000)
        assert said(place, capsys, path)[0] == 1


def test_what_does_not_say_what_made_it_is_whole_all_the_same(place, statistics, tmp_path, capsys):
    path = tmp_path / "sums.h5"
    statistics[0].save(path)
    datasets, attributes = read_hdf5(path, SUMS)
    earlier = {key: value for key, value in attributes.items() if key in ("evidence", "fingerprint", "complex")}
    write_hdf5(path, SUMS, datasets, earlier)  # as an earlier version wrote it
    expected = f"{path}: 1 file as written, 1 without a word of what made it; no inputs are named"
    assert said(place, capsys, path) == (0, [expected])
    assert place.run("show", path) == 0
    assert "checked: all " in capsys.readouterr().out
    assert GradientStatistics.load(path).device == ""


def foreign(folder):
    """Whole files of other programs, with names that results have."""
    folder.mkdir(parents=True)
    with h5py.File(folder / "keras.h5", "w") as file:
        file["weight"] = np.ones(3)
    save_file({"weight": torch.ones(3)}, folder / "model.safetensors")
    Image.new("RGB", (2, 2)).save(folder / "photo.png")
    pd.DataFrame({"a": [1]}).to_parquet(folder / "rows.parquet")
    (folder / "claims.json").write_text('{"claims": []}')
    return sorted(path for path in folder.iterdir())


def test_files_of_other_programs_are_named_and_never_called_damaged(place, measured, capsys):
    files = foreign(measured.parent / "foreign")
    for path in files:
        status, (line,) = said(place, capsys, path)
        assert status == 1
        assert line.startswith(f"{path}: found a file of another program, expected a result file of mcoherence; ")
    status, (first, second) = said(place, capsys, measured.parent)
    assert (status, first) == (0, f"{measured.parent}: 1 file as written; 2 inputs as they were")
    assert second == f"of other programs, not verified: {', '.join(map(str, files[:3]))} and 2 more"
    for path in files:
        path.write_bytes(path.read_bytes()[:-3])
        (line,) = said(place, capsys, path)[1]
        assert "found nothing in it that says mcoherence wrote it" in line
        assert "delete" not in line


def drawn(folder, name="coherence", kept_as=None):
    """A figure as a study draws it; of a copy under another name the PNG alone."""
    save_figure(message_figure(name), folder / f"{name}.png", folder / f"{name}.pdf", 60, provenance({}, []))
    if kept_as is None:
        return folder / f"{name}.png"
    (folder / f"{name}.pdf").unlink()
    return (folder / f"{name}.png").rename(folder / kept_as)


def test_a_folder_of_pictures_holds_no_results_and_none_of_them_is_to_be_deleted(place, tmp_path, capsys):
    docs = tmp_path / "docs"
    docs.mkdir()
    drawn(docs, "median_scale_mlp", kept_as="median_scale.png")
    drawn(docs, "claims", kept_as="claims.png")
    assert place.run("verify", docs) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"error: {docs}: found no results of a study in it, and no other files of mcoherence that can be verified, "
        "expected some; name the folder of a study, such as results/digits, or of files that a command wrote"
    )


def test_copies_of_figures_beside_results_are_named_and_not_verified(place, measured, capsys):
    copy = drawn(measured.parent, "summary", kept_as="talk.png")
    whole = drawn(measured.parent)
    assert said(place, capsys, measured.parent) == (
        0,
        [
            f"{measured.parent}: 2 files as written; 2 inputs as they were",
            f"copies of figures without their PDF, not verified: {copy}",
        ],
    )
    changed_byte(whole, 100)
    status, (line,) = said(place, capsys, measured.parent)
    assert (status, line.partition(": ")[0]) == (1, str(whole))


def test_a_figure_of_a_study_without_its_pdf_is_a_fault(place, tmp_path, capsys):
    (tmp_path / "runs/digits/mlp/clean/sgd/full/seed0").mkdir(parents=True)
    (tmp_path / "figures").mkdir()
    png = drawn(tmp_path / "figures", "summary")
    png.with_suffix(".pdf").unlink()
    expected = "missing or unreadable (No such file or directory); delete the file and run again"
    assert said(place, capsys, tmp_path / "figures") == (1, [f"{png.with_suffix('.pdf')}: {expected}"])


def test_the_config_of_no_study_is_one_line(place, tmp_path, capsys):
    for text in ('{"experiments": ["label_noise"]}', '{"experiments": ["label_noises"]}', '{"experiments": 3}'):
        (tmp_path / "config.json").write_text(text)
        status, (line,) = said(place, capsys, tmp_path)
        assert status == 1
        assert line.startswith(f"{tmp_path}/config.json: found a config that no study of this version has (")


def test_a_file_that_cannot_be_read_now_is_not_called_damaged(place, measured, tmp_path, capsys, monkeypatch):
    origin = provenance({}, [])
    write_table(pd.DataFrame({"a": [1]}), tmp_path / "t.csv", tmp_path / "t.parquet", origin)
    write_tensors(tmp_path / "w.safetensors", {"w": torch.ones(3)}, {"provenance": json.dumps(origin.as_attributes())})
    opened = Path.open

    def refused(path, *args, **kwargs):
        if path.parent == tmp_path and path.suffix != ".parquet":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refused)
    for asked, named in (("coherence.h5", "coherence.h5"), ("w.safetensors",) * 2, ("t.parquet", "t.csv")):
        status, (line,) = said(place, capsys, tmp_path / asked)
        assert status == 1
        assert line.startswith(f"{tmp_path / named}: cannot be read now (Permission denied)")
        assert "delete" not in line


def test_a_folder_above_studies_is_verified_study_by_study(place, measured, tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / name / "runs/digits/mlp/clean/sgd/full/seed0").mkdir(parents=True)
    shutil.copy2(measured, tmp_path / "one/runs/coherence.h5")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text('{"architectures": ["resnet"]}')  # of another program
    status, lines = said(place, capsys, tmp_path)
    assert status == 1
    assert [line.partition(": ")[0] for line in lines] == [
        str(tmp_path / name / "config.json") for name in ("one", "two")
    ]
    assert not is_study(tmp_path / "model")


def test_the_batches_of_a_function_are_not_asked_for_again(place, tmp_path, capsys):
    out = tmp_path / "o.h5"
    assert place.run("measure", *NETWORK, *QUICK, "--data", "command_user:batches", "--out", out) == 0
    expected = "1 file as written; 1 input as it was, 1 that a function yielded, which is not called again"
    assert said(place, capsys, out) == (0, [f"{out}: {expected}"])


def test_a_shard_is_a_result_file_too(place, tmp_path, capsys):
    shard = tmp_path / "shard.h5"
    assert place.run("measure", *NETWORK, *FOLDER, *QUICK, "--shard", "1/2", "--out", shard) == 0
    assert said(place, capsys, shard)[0] == 0
