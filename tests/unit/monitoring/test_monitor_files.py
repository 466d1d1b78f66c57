"""The file of a monitor: its rows are those of the table `coherence`, and the figures of a study are drawn from it."""

import errno
import os

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mcoherence import CoherenceMonitor
from mcoherence.errors import UserError
from mcoherence.figures import coherence_by_step, layer_coherence, pristine_corrupt
from mcoherence.figures.style import FigureStyle
from mcoherence.files.hdf5 import check_content, read_attributes
from mcoherence.monitoring.reading import coherence_table
from mcoherence.tables import coherence
from mcoherence.tables.sums import Sums
from tests.unit.monitoring.small_training import LOSS, sample

INPUTS, TARGETS, HALVES = sample()
THIRDS = torch.arange(30) % 3


def monitored(path, groups=None, ids=None, steps=(0, 1, 2), model=None):
    """A monitor that has measured a small network at some steps of training, and its file."""
    torch.manual_seed(0)
    model = model or nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
    batch = (INPUTS, TARGETS) if groups is None else (INPUTS, TARGETS, ids)
    monitor = CoherenceMonitor(model, LOSS, batch, steps, groups, path)
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    for step in range(max(steps) + 1):
        monitor(step)
        optimizer.zero_grad()
        LOSS(model(INPUTS), TARGETS).mean().backward()
        optimizer.step()
    return monitor


@pytest.mark.parametrize("suffix", ["csv", "h5"])
@pytest.mark.parametrize(
    ("groups", "ids", "expected"),
    [
        (None, None, ["train"]),
        (["cats", "dogs"], HALVES, ["cats", "dogs", "train"]),
        (["pristine", "corrupt", "heldout"], THIRDS, ["pristine", "corrupt", "heldout", "train"]),
        (["train", "heldout"], HALVES, ["heldout", "train"]),
    ],
    ids=["no groups", "own groups", "a study's groups", "train and heldout"],
)
def test_rows_are_those_of_the_table_coherence(tmp_path, suffix, groups, ids, expected):
    monitor = monitored(tmp_path / f"c.{suffix}", groups, ids)
    table = coherence_table(tmp_path / f"c.{suffix}", optimizer="sgd", seed=3)
    columns = list(coherence.coherence_by_layer(Sums.read(_hdf5(tmp_path), "mcoherence/coherence/2")))
    assert list(table.columns) == ["dataset", "model", "labels", "noise", "optimizer", "subset", "seed", *columns]
    assert table["group"].unique().tolist() == expected
    assert set(table["layer"]) == {"model", "0", "1", "3"}
    assert set(table["layer_type"]) == {"", "Linear", "BatchNorm1d"}
    assert len(table) == 3 * len(expected) * 4
    whole = table[table["layer"] == "model"].pivot(index="step", columns="group", values="m_coherence")
    history = monitor.history.set_index("step")
    for group in groups or []:
        np.testing.assert_allclose(whole[group], history[f"m_coherence/group/{group}"], rtol=1e-12)
    if expected != ["heldout", "train"] and "heldout" not in expected:
        np.testing.assert_allclose(whole["train"], history["m_coherence"], rtol=1e-12)
    elif "pristine" in expected:  # the training sample is without the held-out part
        assert (table[table["group"] == "train"]["n"] == 20).all()
    assert (table["seed"] == 3).all()


def _hdf5(folder):
    path = folder / "columns.h5"
    monitored(path, steps=(0,))
    return path


def test_both_kinds_of_file_hold_the_same(tmp_path):
    for suffix in ("csv", "h5"):
        monitored(tmp_path / f"c.{suffix}", ["cats", "dogs"], HALVES)
    tables = [coherence_table(tmp_path / f"c.{suffix}") for suffix in ("csv", "h5")]
    pd.testing.assert_frame_equal(*tables, rtol=1e-13)


def test_the_figures_of_a_study_are_drawn_from_it(tmp_path):
    tables = []
    for seed, suffix in enumerate(("csv", "h5")):
        monitored(tmp_path / f"c.{suffix}", ["pristine", "corrupt"], HALVES)
        names = {"dataset": "mine", "labels": "half", "noise": 0.5, "optimizer": "sgd", "seed": seed}
        tables.append(coherence_table(tmp_path / f"c.{suffix}", **names))
    style = FigureStyle({"sgd": "#0072b2"}, "sgd")
    for figure in (coherence_by_step, layer_coherence, pristine_corrupt):
        drawn = figure.draw({"coherence": pd.concat(tables)}, style)
        lines = [line for axes in drawn.axes for line in axes.lines if len(line.get_xdata()) == 3]
        assert lines, figure.__name__


def test_a_layer_that_is_called_model_is_not_taken_for_the_whole_network(tmp_path):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.head = nn.Linear(6, 4), nn.Linear(4, 3)

        def forward(self, inputs):
            return self.head(self.model(inputs))

    for suffix in ("csv", "h5"):
        monitor = monitored(tmp_path / f"c.{suffix}", model=Wrapped(), steps=(0,))
        table = coherence_table(tmp_path / f"c.{suffix}").set_index("layer")["m_coherence"]
        assert table["model."] == pytest.approx(monitor.history["m_coherence/layer/model"][0])
        assert table["model"] == pytest.approx(monitor.history["m_coherence"][0])


def test_rows_are_there_at_once(tmp_path):
    """After every measurement the file holds it; nothing waits for the end."""
    for suffix in ("csv", "h5"):
        path = tmp_path / "deeper" / f"c.{suffix}"
        monitor = CoherenceMonitor(nn.Linear(6, 3), LOSS, (INPUTS, TARGETS), 1, path=path)
        for step in range(3):
            monitor(step)
            assert coherence_table(path)["step"].unique().tolist() == list(range(step + 1))


@pytest.mark.parametrize("rows", [1.0, 0.5, 0.0])
def test_what_a_kill_cut_off_is_left_out_wherever_it_cut(tmp_path, rows):
    path = tmp_path / "c.csv"
    monitored(path, ["cats", "dogs"], HALVES, steps=(0, 1))
    content = path.read_bytes()
    whole = content[: content.index(b"\n1,") + 1]  # until the rows of step 1
    last = content[len(whole) :]
    path.write_bytes(whole + last[: int(rows * (len(last) - 1))])
    assert coherence_table(path)["step"].unique().tolist() == [0]


def test_hdf5_files_are_sealed_and_say_what_made_them(tmp_path):
    path = tmp_path / "c.h5"
    monitor = monitored(path, ["cats", "dogs"], HALVES)
    check_content(path)
    attributes = read_attributes(path)
    assert attributes["sample_sha256"] == monitor.sample_digest
    assert '"torch"' in attributes["versions"]
    assert '"examples_measured":90' in attributes["evidence"].replace(" ", "")
    assert '"running"' in attributes["batch_norm"]


def test_a_file_of_an_earlier_run_is_kept_under_another_name(tmp_path):
    path = tmp_path / "c.csv"
    monitored(path)
    first = path.read_bytes()
    (tmp_path / "c.1.csv").write_text("in the way")
    with pytest.warns(
        UserWarning, match=r"c\.csv: of an earlier run, whose state was not loaded; renamed to c\.2\.csv"
    ):
        monitored(path, steps=(0,))
    assert (tmp_path / "c.2.csv").read_bytes() == first
    assert coherence_table(path)["step"].tolist() == [0] * 4


def test_a_full_disk_leaves_no_part_of_a_measurement(tmp_path, monkeypatch):
    path = tmp_path / "c.csv"
    monitor = CoherenceMonitor(nn.Linear(6, 3), LOSS, (INPUTS, TARGETS), 1, path=path)
    monitor(0)
    before = path.read_bytes()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            monitor(1)
    assert path.read_bytes() == before
    assert monitor.history["step"].tolist() == [0]
    monitor(1)
    assert coherence_table(path)["step"].unique().tolist() == [0, 1]


def test_other_files_and_names_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^path: found .*c\.txt, expected a name that ends in \.csv, \.h5 or \.hdf5"):
        CoherenceMonitor(nn.Linear(6, 3), LOSS, (INPUTS, TARGETS), 1, path=tmp_path / "c.txt")
    with pytest.raises(UserError, match=r"^run: found \['optimiser'\], expected names out of"):
        coherence_table(tmp_path / "c.csv", optimiser="sgd")
    with pytest.raises(UserError, match=r"^.*c\.csv: missing or unreadable"):
        coherence_table(tmp_path / "c.csv")
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"^.*c\.csv: no rows of a monitor"):
        coherence_table(tmp_path / "c.csv")
