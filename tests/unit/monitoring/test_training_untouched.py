"""Training with a monitor ends in the same bytes as without, whatever happens to the monitor or the process."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mcoherence import CoherenceMonitor
from mcoherence.errors import UserError
from mcoherence.monitoring.reading import coherence_table
from tests.unit.monitoring.small_training import LOSS, Training, sample

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def untouched():
    """The bytes that 12 updates end in without a monitor."""
    return Training().run(12).bytes()


def test_what_is_compared_tells_of_every_disturbance():
    """One number more from any generator, another mode, a gradient that is gone: each gives other bytes."""
    training = Training().run(2)
    seen = {training.bytes()}
    for disturb in (
        lambda: torch.rand(1),
        random.random,
        np.random.rand,
        lambda: training.model[4].train(),
        lambda: setattr(training.model[0].weight, "grad", None),
        lambda: training.model[1].running_mean.add_(1e-6),
        lambda: training.scaler.update(4.0),
    ):
        disturb()
        seen.add(training.bytes())
    assert len(seen) == 8


@pytest.mark.parametrize("suffix", ["csv", "h5"])
def test_training_with_a_monitor_ends_in_the_same_bytes(tmp_path, untouched, suffix):
    training = Training()
    assert training.model[0].weight.grad is None
    logged = []
    monitor = CoherenceMonitor(
        training.model, LOSS, sample(), every=2, groups=["even", "odd"], path=tmp_path / f"c.{suffix}",
        log=lambda name, value, step: logged.append((name, step)),
    )  # fmt: skip
    monitor(0)
    assert training.model[0].weight.grad is None
    assert training.run(12, monitor).bytes() == untouched
    assert monitor.history["step"].tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert ("coherence/m_coherence", 12) in logged


def test_a_call_inside_autocast_measures_float32_and_leaves_autocast_on():
    training = Training().run(3)
    outside, inside = (CoherenceMonitor(training.model, LOSS, sample()[:2], every=1) for _ in range(2))
    before = training.bytes()
    outside(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside(3)
        assert torch.is_autocast_enabled("cpu")
        assert training.model[0](training.inputs).dtype == torch.bfloat16
    pd.testing.assert_frame_equal(outside.history, inside.history)
    assert training.bytes() == before


def test_a_network_that_uses_autocast_itself_trains_on_inside_autocast():
    """Weights that our pass has cast are not left for the pass after it, whose graph would be gone."""

    class Casting(nn.Linear):
        def forward(self, inputs):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return super().forward(inputs).float()

    model, (inputs, targets, _) = Casting(6, 3), sample()
    monitor = CoherenceMonitor(model, LOSS, (inputs, targets), every=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        monitor(0)
        LOSS(model(inputs), targets).mean().backward()
    assert model.weight.grad is not None


def test_a_measurement_that_raises_disturbs_nothing_and_keeps_nothing(tmp_path, untouched):
    """Every way that a measurement can fail: in the loss, in the network, in the log, in the file."""
    training = Training()
    path = tmp_path / "c.csv"
    failing = {}

    def loss(outputs, targets):
        if "loss" in failing:
            torch.rand(1)
            raise KeyError("loss")
        return LOSS(outputs, targets)

    def log(name, value, step):
        if "log" in failing:
            raise KeyError("log")

    monitor = CoherenceMonitor(training.model, loss, sample()[:2], every=1, path=path, log=log)
    training.run(3, monitor)
    failing["loss"] = True
    training.run(4, start=3)
    with pytest.raises(KeyError):
        monitor(4)
    failing.clear()
    training.run(5, start=4)
    path.chmod(0o600)
    with path.open("a") as another:
        another.write("1,2,3\n")
    with pytest.raises(
        UserError, match=r"expected the \d+ that this monitor has written and nobody else; give every monitor a file"
    ):
        monitor(5)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    training.run(6, start=5)
    failing["log"] = True
    with pytest.raises(KeyError):
        monitor(6)
    failing.clear()
    assert training.run(12, monitor, start=6).bytes() == untouched
    assert monitor.history["step"].tolist() == [1, 2, 3, 7, 8, 9, 10, 11, 12]
    assert coherence_table(path)["step"].unique().tolist() == monitor.history["step"].tolist()


def test_a_network_that_cannot_be_measured_trains_on():
    """Dropout that stays on in eval mode is refused by name, after it has drawn from torch's generator."""

    class AlwaysDropout(nn.Module):
        def forward(self, inputs):
            return nn.functional.dropout(inputs, 0.5, training=True)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), AlwaysDropout(), nn.Linear(5, 3)).train()
    state = torch.get_rng_state()
    with pytest.raises(UserError, match="draws random numbers"):
        CoherenceMonitor(model, LOSS, sample()[:2], every=1)(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())


# What a process does until it is killed at update 9, four after its checkpoint, in the middle of writing to its CSV.
KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(int(sys.argv[2]))
from mcoherence import CoherenceMonitor
from mcoherence.monitoring import storage
from tests.unit.monitoring.small_training import LOSS, Training, sample
training = Training()
paths = [f"{sys.argv[1]}/c.{suffix}" for suffix in ("h5", "csv")]
hdf5, csv = (CoherenceMonitor(training.model, LOSS, sample(), 1, ["even", "odd"], path) for path in paths)
def both(step):
    hdf5(step)
    csv(step)
both(0)
training.run(5, both)
states = {"training": training.state(), "h5": hdf5.state_dict(), "csv": csv.state_dict()}
torch.save(states, f"{sys.argv[1]}/checkpoint.pt")
training.run(8, both, start=5)
training.run(9, start=8)
whole = storage._csv
def torn(rows, header):
    with open(paths[1], "ab") as file:
        file.write(whole(rows, header)[:1000].encode())
    os.kill(os.getpid(), signal.SIGKILL)
storage._csv = torn
csv(9)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder that the killed process leaves."""
    folder = tmp_path_factory.mktemp("killed")
    # As many threads as here, where another test may have set them: sums are added up in shares.
    command = [sys.executable, "-c", KILLED, str(folder), str(torch.get_num_threads())]
    answer = subprocess.run(command, cwd=ROOT, check=False)
    assert answer.returncode == -signal.SIGKILL
    return folder


@pytest.mark.parametrize("suffix", ["csv", "h5"])
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, untouched, killed, suffix):
    files = killed / f"c.{suffix}", tmp_path / f"u.{suffix}"
    before = files[0].read_bytes()
    # Whoever looks at the file now sees all that was measured, but what was in work.
    assert suffix == "h5" or not before.endswith(b"\n")
    assert coherence_table(files[0])["step"].unique().tolist() == list(range(9))

    whole = Training()
    uninterrupted = CoherenceMonitor(whole.model, LOSS, sample(), 1, ["even", "odd"], files[1])
    uninterrupted(0)
    assert whole.run(12, uninterrupted).bytes() == untouched

    saved = torch.load(killed / "checkpoint.pt", weights_only=False)
    training = Training()
    monitor = CoherenceMonitor(training.model, LOSS, sample(), 1, ["even", "odd"], files[0])
    training.go_on_from(saved["training"])
    monitor.load_state_dict(saved[suffix])
    assert files[0].read_bytes() == before
    assert monitor(5) is None  # the state has it; the file loses what comes after
    assert coherence_table(files[0])["step"].unique().tolist() == list(range(6))
    assert training.run(12, monitor, start=5).bytes() == untouched
    pd.testing.assert_frame_equal(monitor.history, uninterrupted.history, check_exact=True)
    pd.testing.assert_frame_equal(*map(coherence_table, files), check_exact=True)
    if suffix == "csv":
        assert files[0].read_bytes() == files[1].read_bytes()
    assert not (killed / f"c.1.{suffix}").exists()  # nothing was set aside
