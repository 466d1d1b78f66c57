"""`mcoherence examples`: what is its own, with a stand-in for what measures single examples."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

import mcoherence
from mcoherence.files.tables import read_table

from .conftest import FOLDER, NETWORK, QUICK


@pytest.fixture
def asked(monkeypatch):
    """What `example_statistics` is called with; it answers by the sums of the inputs."""
    calls = []

    def stand_in(model, loss_fn, batches, along=None, leave_one_out=False, groups=None):
        assert iter(batches) is not batches  # for a second pass
        batches = list(batches)
        calls.append(SimpleNamespace(along=along, leave_one_out=leave_one_out, groups=groups, batches=batches))
        sums = [float(x.sum()) for inputs, *_ in batches for x in inputs]
        table = pd.DataFrame({"index": range(len(sums)), "sq_norm": sums, "dot_sum": 1.0})
        return SimpleNamespace(to_dataframe=lambda: table)

    monkeypatch.setattr(mcoherence, "example_statistics", stand_in, raising=False)
    return calls


def test_rows_carry_the_places_classes_and_files_of_the_examples(place, tmp_path, asked):
    out = tmp_path / "examples.csv"
    sample = ("--sample", 5, "--batch-size", 2, "--precision", "float64", "--leave-one-out")
    assert place.run("examples", *NETWORK, *FOLDER, *QUICK, *sample, "--out", out) == 0
    (call,) = asked
    assert (call.along, call.leave_one_out, call.groups) == ({"sum": "sum"}, True, None)
    assert [len(inputs) for inputs, _ in call.batches] == [2, 2, 1]
    table = pd.read_csv(out)
    assert list(table.columns) == ["index", "target", "group", "file", "sq_norm", "dot_sum"]
    assert table["target"].tolist() == place.targets[table["index"].tolist()].tolist()
    assert table["file"].tolist() == [f"class{i // 4}/{i:02}.png" for i in table["index"]]
    assert table["sq_norm"].tolist() == pytest.approx([float(place.inputs[i].sum()) for i in table["index"]])
    assert read_table(out.with_suffix(".parquet"))["index"].tolist() == table["index"].tolist()
    assert place.run("verify", out.with_suffix(".parquet")) == 0


def test_batch_norm_takes_the_statistics_that_are_asked_for(place, tmp_path):
    for statistics in ("running", "sample"):
        asked = ("--batch-norm", statistics, "--out", tmp_path / f"{statistics}.csv")
        assert place.run("examples", *NETWORK, *FOLDER, *QUICK, *asked) == 0
    running, sample = (pd.read_csv(tmp_path / f"{statistics}.csv")["sq_norm"] for statistics in ("running", "sample"))
    assert (running != sample).all()


def test_groups_are_handed_on_and_directions_named(place, tmp_path, asked):
    along = ("--groups", "class", "--along", "sum:class1", "weights")
    assert place.run("examples", *NETWORK, *FOLDER, *QUICK, *along, "--out", tmp_path / "e.parquet") == 0
    (call,) = asked
    assert call.along["sum:class1"] == "sum:class1"
    assert torch.equal(call.along["weights"]["4.bias"], place.model[4].bias.float())
    assert call.groups == ("class0", "class1", "class2")
    assert [ids.tolist() for _, _, ids in call.batches] == [place.targets.tolist()]
    assert pd.read_csv(tmp_path / "e.csv")["group"].tolist() == [f"class{one}" for one in place.targets.tolist()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--along", "up"), "--along: found 'up', expected sum, weights, or sum:GROUP"),
        (("--along", "sum:class0"), "--along: found 'sum:class0', expected sum, weights, or sum:GROUP of a group"),
    ],
)
def test_mistakes_are_one_line(place, tmp_path, asked, capsys, arguments, message):
    out = tmp_path / "e.csv"
    assert place.run("examples", *NETWORK, *FOLDER, *QUICK, *arguments, "--out", out) == 1
    *progress, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert all(other.startswith("digest of the images") for other in progress)
    assert not out.exists()


def test_it_takes_one_file_of_weights_and_its_help_promises_no_more(place, tmp_path, capsys):
    with pytest.raises(SystemExit):
        place.run("examples", *NETWORK[:2], "--weights", "weights.pt", "more.pt", *FOLDER, "--out", tmp_path / "e.csv")
    assert "found more.pt, which this command does not take; see mcoherence examples --help" in capsys.readouterr().err
    for command, several in (("measure", True), ("examples", False)):
        with pytest.raises(SystemExit):
            place.run(command, "--help")
        said = " ".join(capsys.readouterr().out.split())
        assert ["--steps" in said, "W [W ...]" in said, "several files" in said] == [several] * 3
