"""The file of a monitor: its rows are those of the table `coherence`, and the figures of a study are drawn from it."""

import errno
import os

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mcoherence import CoherenceMonitor
from mcoherence.command.main import main
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


def fresh():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))


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
        (["cats", "dogs"], HALVES, ["cats", "dogs", "all", "train"]),
        (["pristine", "corrupt", "heldout"], THIRDS, ["pristine", "corrupt", "heldout", "all", "train"]),
        (["train", "heldout"], HALVES, ["heldout", "all", "train"]),
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
    np.testing.assert_allclose(whole["all" if groups else "train"], history["m_coherence"], rtol=1e-12)
    assert groups is None or (table[table["group"] == "all"]["n"] == 30).all()
    training = {"cats": 30, "pristine": 20, "train": 15}[groups[0]] if groups else 30
    assert (table[table["group"] == "train"]["n"] == training).all()
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
        UserWarning, match=r"c\.csv: of another run .*, or of one whose state was not loaded; renamed to c\.2\.csv"
    ):
        monitored(path, steps=(0,))
    assert (tmp_path / "c.2.csv").read_bytes() == first
    assert coherence_table(path)["step"].tolist() == [0] * 4


@pytest.mark.parametrize("suffix", ["csv", "h5"])
@pytest.mark.parametrize("what", ["another run", "another sample", "something else"])
def test_a_file_that_is_not_of_the_run_of_a_state_is_set_aside(tmp_path, suffix, what):
    """A resumed run rewrites its own file alone: one that begins with the rows of the state."""
    path = tmp_path / f"c.{suffix}"
    state = monitored(None, steps=(0, 1)).state_dict()
    if what == "another run":
        other = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
        monitored(path, model=other.requires_grad_(), steps=(0, 1, 2))
    elif what == "another sample":
        CoherenceMonitor(nn.Linear(6, 3), LOSS, (INPUTS[:5], TARGETS[:5]), 1, path=path)(0)
    else:
        path.write_text("precious\n")
    content = path.read_bytes()
    monitor = CoherenceMonitor(fresh(), LOSS, (INPUTS, TARGETS), 1, path=path)
    monitor.load_state_dict(state)
    with pytest.warns(UserWarning, match=rf"renamed to c\.1\.{suffix}"):
        monitor(2)
    assert (tmp_path / f"c.1.{suffix}").read_bytes() == content
    assert coherence_table(path)["step"].unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("suffix", ["csv", "h5"])
@pytest.mark.parametrize("there", [(0,), (0, 1), (0, 1, 2)])
def test_a_file_of_the_run_of_a_state_goes_on_whether_it_holds_more_or_less(tmp_path, suffix, there):
    path = tmp_path / f"c.{suffix}"
    monitored(path, steps=there)
    monitor = CoherenceMonitor(fresh(), LOSS, (INPUTS, TARGETS), 1, path=path)
    monitor.load_state_dict(monitored(None, steps=(0, 1)).state_dict())
    monitor(1)
    assert coherence_table(path)["step"].unique().tolist() == [0, 1]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["csv", "h5"])
def test_two_monitors_do_not_write_into_one_file(tmp_path, suffix):
    path, model = tmp_path / f"c.{suffix}", fresh()
    one, other = (CoherenceMonitor(model, LOSS, (INPUTS, TARGETS), 1, path=path) for _ in range(2))
    one(0)
    with pytest.warns(UserWarning, match="renamed"):
        other(0)
    with pytest.raises(UserError, match=r"^.*: found another file[^\n]*; give every monitor a file of its own$"):
        one(1)
    other(1)
    assert coherence_table(path)["step"].unique().tolist() == [0, 1]


def test_show_names_the_whole_sample_and_the_training_sample_apart(tmp_path, capsys):
    for suffix in ("csv", "h5"):
        path = tmp_path / f"c.{suffix}"
        monitor = monitored(path, ["train", "heldout"], (torch.arange(30) == 29).long(), steps=(0,))
        assert main(["show", str(path)]) == 0
        shown = [line.split() for line in capsys.readouterr().out.partition("by layer, step")[0].splitlines()]
        counts = {line[0] if suffix == "csv" else line[1]: line[2] for line in shown if len(line) == 5 and "0" in line}
        assert counts == {"all": "30", "train": "29", "heldout": "1"}, suffix
        values = {"all": "m_coherence", "train": "m_coherence/group/train"}
        for group, name in values.items():
            [value] = [line[3] for line in shown if group in line[:2] and len(line) == 5 and "0" in line[:2]]
            assert float(value) == pytest.approx(monitor.history[name][0], rel=1e-3)


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


@pytest.mark.parametrize("suffix", ["csv", "h5"])
@pytest.mark.parametrize("fails_in", ["file", "log"])
@pytest.mark.parametrize("fails_at", [0, 1])
def test_a_step_that_fails_is_in_neither_file_nor_history_and_logged_once(tmp_path, suffix, fails_in, fails_at):
    path, logged, failing = tmp_path / f"c.{suffix}", [], {fails_at}

    def log(values, step):
        if fails_in == "log" and step in failing:
            raise OSError("no connection")
        logged.append(step)

    monitor = CoherenceMonitor(nn.Linear(6, 3), LOSS, (INPUTS, TARGETS), 1, path=path, log=log)
    append = monitor._file.append

    def append_or_fail(last, every):
        if fails_in == "file" and last.steps[0] in failing:
            raise OSError("no space left")
        append(last, every)

    monitor._file.append = append_or_fail
    for step in range(3):
        if step in failing:
            with pytest.raises(OSError, match=r"^no "):
                monitor(step)
            assert path.exists() == (step > 0)
            assert not path.exists() or coherence_table(path)["step"].unique().tolist() == list(range(step))
            failing.clear()
        monitor(step)
    assert logged == monitor.history["step"].tolist() == coherence_table(path)["step"].unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("suffix", ["csv", "h5"])
def test_a_file_that_was_removed_is_written_anew_with_all_measurements(tmp_path, suffix):
    path = tmp_path / f"c.{suffix}"
    monitor = CoherenceMonitor(nn.Linear(6, 3), LOSS, (INPUTS, TARGETS), 1, path=path)
    monitor(0)
    path.unlink()
    with pytest.warns(UserWarning, match=rf"^.*c\.{suffix}: removed since the last measurement; written anew"):
        monitor(1)
    monitor(2)
    assert coherence_table(path)["step"].unique().tolist() == [0, 1, 2]


def test_other_files_and_names_are_refused_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"^path: found .*c\.txt, expected a name that ends in \.csv, \.h5 or \.hdf5"):
        CoherenceMonitor(nn.Linear(6, 3), LOSS, (INPUTS, TARGETS), 1, path=tmp_path / "c.txt")
    (tmp_path / "file").write_text("")
    for wrong in (3, tmp_path / "file" / "c.csv", "folder.csv"):
        (tmp_path / "folder.csv").mkdir(exist_ok=True)
        place = tmp_path / wrong if isinstance(wrong, str) else wrong
        with pytest.raises(UserError, match=r"^path: found [^\n]+$"):
            CoherenceMonitor(nn.Linear(6, 3), LOSS, (INPUTS, TARGETS), 1, path=place)
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda *_: False)
        with pytest.raises(UserError, match=r"^path: .*in which nothing can be written; choose a folder of yours$"):
            CoherenceMonitor(nn.Linear(6, 3), LOSS, (INPUTS, TARGETS), 1, path=tmp_path / "new" / "c.csv")
    with pytest.raises(UserError, match=r"^run: found \['optimiser'\], expected names out of"):
        coherence_table(tmp_path / "c.csv", optimiser="sgd")
    with pytest.raises(UserError, match=r"^.*c\.csv: missing or unreadable"):
        coherence_table(tmp_path / "c.csv")
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"^.*c\.csv: no rows of a monitor"):
        coherence_table(tmp_path / "c.csv")
