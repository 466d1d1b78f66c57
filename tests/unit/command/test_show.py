"""`mcoherence show`: a coherence file as a table and a picture, and two studies side by side."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from mcoherence import CoherenceMonitor, example_statistics, gradient_statistics
from mcoherence.claims.stored import SCHEMA
from mcoherence.command.verify import is_study
from mcoherence.files.digests import sha256_of
from mcoherence.files.hdf5 import read_hdf5
from mcoherence.files.json_csv import write_json, write_sealed_json
from mcoherence.files.page import write_page
from mcoherence.study.result_names import COHERENCE_SCHEMA

from .conftest import FOLDER, NETWORK, QUICK


def shown(place, capsys, *arguments):
    capsys.readouterr()
    assert place.run("show", *arguments) == 0
    return capsys.readouterr().out.splitlines()


def test_a_coherence_file_is_a_table_of_groups_and_one_of_layers(place, measured, capsys):
    lines = shown(place, capsys, measured)
    datasets, _ = read_hdf5(measured, COHERENCE_SCHEMA)
    whole, by_layer = datasets["m_coherence_model"][0, 0], datasets["m_coherence"][0, 0]
    assert "measured 12 of 12 examples" in lines[1]
    rows = [line.split() for line in lines]
    assert ["0", "train", "12", f"{whole:.4g}", f"{whole / 12:.4g}"] in rows
    for layer, kind, value in zip(("0", "1", "4"), ("Conv2d", "BatchNorm2d", "Linear"), by_layer, strict=True):
        assert [layer, kind, f"{value:.4g}"] in rows


@pytest.mark.parametrize("steps", [(), (0, 5)])
def test_the_picture_is_drawn_where_it_is_asked_for_and_can_be_verified(place, tmp_path, capsys, steps):
    weights = ("--weights", "weights.pt", "weights.pt", "--steps", *steps) if steps else ("--weights", "weights.pt")
    out, png = tmp_path / "o.h5", tmp_path / "coherence.png"
    asked = (*NETWORK[:2], *weights, *FOLDER, *QUICK, "--groups", "class")
    assert place.run("measure", *asked, "--out", out) == 0
    shown(place, capsys, out, "--png", png)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert png.with_suffix(".pdf").stat().st_size > 1000
    assert place.run("verify", png) == 0


def test_groups_and_steps_that_are_left_out_are_said_and_can_be_had(place, tmp_path, capsys, monkeypatch):
    weights = ("--weights", "weights.pt", "weights.pt", "--steps", 0, 5)
    out, png = tmp_path / "o.h5", tmp_path / "coherence.png"
    assert place.run("measure", *NETWORK[:2], *weights, *FOLDER, *QUICK, "--groups", "class", "--out", out) == 0
    monkeypatch.setattr("mcoherence.command.show.MOST_GROUPS", 3)  # of train and three classes
    monkeypatch.setattr("mcoherence.command.show.MOST_DRAWN", 3)
    lines = shown(place, capsys, out, "--png", png)
    assert "measured 24 of 24 examples over 2 sets of weights" in lines[1]
    assert "m-coherence by layer, step 5 (1 more groups and 1 more steps: --all)" in lines
    assert lines[-1].endswith("coherence.pdf: drawn; class2 left out, --groups names others")
    lines = shown(place, capsys, out, "--all")
    for step in (0, 5):
        head = lines[lines.index(f"m-coherence by layer, step {step}") + 1]
        assert head.split() == ["layer", "type", "train", "class0", "class1", "class2"]
    lines = shown(place, capsys, out, "--groups", "class2", "class0", "--png", png)
    assert lines[lines.index("") + 2].split()[:2] == ["0", "class2"]
    assert ["layer", "type", "class2", "class0"] in [line.split() for line in lines]
    assert lines[-1].endswith("coherence.pdf: drawn")
    assert place.run("show", out, "--groups", "clas2") == 1
    assert "--groups: found 'clas2', expected one of train, class0, class1, class2" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".hdf5"])
def test_a_monitors_file_is_a_table_too(place, tmp_path, capsys, suffix):
    network, path = nn.Linear(3, 2), tmp_path / f"probe{suffix}"
    sample = torch.eye(3), torch.tensor([0, 1, 0])
    monitor = CoherenceMonitor(network, nn.CrossEntropyLoss(reduction="none"), sample, every=4, path=path)
    for step in range(5):
        monitor(step)
    rows = [line.split() for line in shown(place, capsys, path)]
    for step, value in zip((0, 4), monitor.history["m_coherence"], strict=True):
        assert any({str(step), "train", "3", f"{value:.4g}", f"{value / 3:.4g}"} == set(row) for row in rows)
    png = tmp_path / "drawn.png"
    assert shown(place, capsys, path, "--groups", "train", "--png", png)[-1] == f"{png} and drawn.pdf: drawn"
    assert png.read_bytes().startswith(b"\x89PNG")
    assert place.run("show", path, "--groups", "tain") == 1
    assert "--groups: found 'tain', expected one of " in capsys.readouterr().err


def test_saved_statistics_are_shown_as_they_print(place, tmp_path, capsys):
    loss, batches = nn.CrossEntropyLoss(reduction="none"), [(place.inputs, place.targets)]
    sums = gradient_statistics(place.model, loss, batches)
    examples = example_statistics(place.model, loss, batches, along="sum")
    for saved in (sums, examples):
        saved.save(tmp_path / "s.hdf5")
        first, *lines = shown(place, capsys, tmp_path / "s.hdf5")
        assert first.startswith(f"{tmp_path / 's.hdf5'}: made on cpu")
        assert "\n".join(lines) == str(saved)


def test_a_table_of_examples_is_shown_by_either_of_its_names(place, tmp_path, capsys):
    out = tmp_path / "e.csv"
    assert place.run("examples", *NETWORK, *FOLDER, *QUICK, "--out", out) == 0
    first, *rows = shown(place, capsys, out)
    assert first == f"{out}: 12 rows"
    assert rows == shown(place, capsys, out.with_suffix(".parquet"))[1:]
    head, *largest = [line.split() for line in shown(place, capsys, out, "--sort", "sq_norm")[1:]]
    norms = [float(row[head.index("sq_norm")]) for row in largest]
    assert norms == sorted(norms, reverse=True)
    assert sorted(largest) == sorted(line.split() for line in rows[1:])
    assert place.run("show", out, "--sort", "sq_nrm") == 1
    assert "found 'sq_nrm', expected one of index, target, group, file, loss, sq_norm" in capsys.readouterr().err
    out.write_text(out.read_text().replace("class0", "class1"))
    assert place.run("show", out) == 1
    assert "e.csv: changed since it was made" in capsys.readouterr().err
    out.with_suffix(".parquet").unlink()
    assert place.run("show", out) == 1
    assert "e.csv: found no rows of a monitor, and no e.parquet beside it" in capsys.readouterr().err


def test_a_picture_that_somebody_else_drew_is_not_replaced(place, measured, tmp_path, capsys):
    png = tmp_path / "holiday.png"
    png.write_bytes(Path("photos/class0/00.png").read_bytes())
    assert place.run("show", measured, "--png", png) == 1
    said = capsys.readouterr()
    assert (said.out, "holiday.png, which mcoherence has not written" in said.err) == ("", True)
    assert png.read_bytes() == Path("photos/class0/00.png").read_bytes()


def finished_study(folder, lr, verdict, more=()):
    """The files of a study that are read of it."""
    folder.mkdir()
    claims = [("P1", verdict, 0.5, "Coherence rises."), ("P2", "supported", None, "It falls."), *more]
    (folder / "claims.html").write_text("<html>")
    kept = [{"id": name, "verdict": one, "value": value, "statement": text} for name, one, value, text in claims]
    content = {"schema": SCHEMA, "page_sha256": sha256_of(folder / "claims.html"), "claims": kept}
    write_sealed_json(folder / "claims.json", content)
    config = {"study": folder.name, "experiments": ["label_noise"], "optimizers": {"sgd": {"lr": lr, "method": "sgd"}}}
    write_json(folder / "config.json", config)
    write_page(folder / "study.html", "<html>", [folder / "config.json"])
    return folder


def test_two_studies_stand_side_by_side_with_their_differences_marked(place, tmp_path, capsys):
    one = finished_study(tmp_path / "one", 0.1, "supported")
    two = finished_study(tmp_path / "two", 0.3, "inconclusive", [("E1", "reported", 2.0, "Only here.")])
    lines = shown(place, capsys, one, two)
    cells = [re.split(" {2,}", line.strip()) for line in lines]
    assert cells[1] == ["*  P1"[0], "P1", "supported", "inconclusive", "0.5", "0.5", "Coherence rises."]
    assert cells[2] == ["P2", "supported", "supported", "-", "-", "It falls."]
    assert cells[3] == ["*", "E1", "(not made)", "reported", "2", "Only here."]
    assert ["*", "optimizers.sgd.lr", "0.1", "0.3"] in cells
    assert not any("method" in line for line in lines)
    assert lines[-1] == "2 settings are the same; --all shows them too; * marks what differs"
    assert any("optimizers.sgd.method" in line for line in shown(place, capsys, one, two, "--all"))
    assert is_study(one)


def test_a_study_whose_claims_were_edited_is_not_shown(place, tmp_path, capsys):
    one, two = (finished_study(tmp_path / name, 0.1, "supported") for name in ("one", "two"))
    (one / "claims.json").write_text((one / "claims.json").read_text().replace("supported", "refuted"))
    assert place.run("show", one, two) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "claims.json: changed since it was made" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.h5"], "nothing.h5: not found"),
        (["weights.pt"], "weights.pt: found a file that shows nothing"),
        (["weights.pt", "photos"], "show: found 2 paths, expected one, or the folders of two studies"),
        (["photos", "photos"], "photos: found no claims.json, expected the folder of a finished study"),
        (["weights.pt", "--png", "x.png"], "--png: found weights.pt, expected one coherence file"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(place, capsys, arguments, message):
    assert place.run("show", *arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
