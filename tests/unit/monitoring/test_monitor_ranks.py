"""Ranks that share a probe sample: what they measure is what one process measures, and none of them waits for ever."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mcoherence import gradient_statistics
from mcoherence.monitoring.probe_sample import ProbeSample
from mcoherence.monitoring.reading import coherence_table

ROOT = Path(__file__).parents[3]

# One rank. DDP without batch norm trains in float64 with and without a monitor; then come the ways to go wrong. The
# sample has 7 examples, shares of 3 and 4; then one, so that rank 0 has none.
SCRIPT = """
import os, sys, time
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from mcoherence import CoherenceMonitor
from mcoherence.errors import UserError

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
folder, world = sys.argv[1], int(os.environ["WORLD_SIZE"])
rank = int(os.environ["RANK"])
if world > 1:
    torch.distributed.init_process_group("gloo")
generator = torch.Generator().manual_seed(0)
inputs, targets = torch.randn(40, 6, generator=generator), torch.randint(0, 3, (40,), generator=generator)
groups = torch.tensor([0, 1, 0, 0, 1, 1, 0])
loss_fn = nn.CrossEntropyLoss(reduction="none")

def network(norm):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 5), norm(5), nn.ReLU(), nn.Linear(5, 3))

def train(model, monitor, steps=4):
    wrapped = DistributedDataParallel(model) if world > 1 else model
    optimizer = torch.optim.SGD(wrapped.parameters(), 0.5, momentum=0.9)
    measure = monitor(wrapped)
    measure(0)
    for step in range(1, steps + 1):
        chosen = slice(step % 4 * 8 + rank * 8 // world, step % 4 * 8 + (rank + 1) * 8 // world)
        optimizer.zero_grad()
        loss_fn(wrapped(inputs[chosen]), targets[chosen]).mean().backward()
        optimizer.step()
        measure(step)
    return measure

results = {}
sample = [(inputs[:4], targets[:4], groups[:4]), (inputs[4:7], targets[4:7], groups[4:7])]
model = network(nn.LayerNorm)
logged = results["logged"] = []
path = f"{folder}/{world}.csv"
monitor = train(model, lambda m: CoherenceMonitor(
    m, loss_fn, sample, 2, ["a", "b"], path, lambda values, step: logged.append(step)
))
results["history"], results["weights"] = monitor.history.to_dict("list"), model.state_dict()
results["state"] = monitor.state_dict()["measured"]
plain = network(nn.LayerNorm)
train(plain, lambda m: lambda step: None)
results["same bytes"] = all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters()))

# One example; and running statistics, which are each rank's own.
model = network(nn.BatchNorm1d)
monitor = train(model, lambda m: CoherenceMonitor(m, loss_fn, (inputs[:1], targets[:1]), 4))
before = {name: value.clone() for name, value in model.named_buffers()}
tensors = [id(value) for value in model.buffers()]
whole = CoherenceMonitor(model, loss_fn, (inputs[:9], targets[:9]), 1)
whole(4)
results["batch norm"] = whole.history["m_coherence"][0], dict(model.state_dict())
results["one example"] = monitor.history["m_coherence"].tolist()
results["buffers kept"] = tensors == [id(value) for value in model.buffers()] and all(
    torch.equal(value, before[name]) for name, value in model.named_buffers()
)

if world > 1:
    def failure(call):
        start = time.monotonic()
        try:
            call()
        except Exception as error:
            return f"{type(error).__name__}: {error}", time.monotonic() - start
        return "", 0.0

    def weights_differ():
        with torch.no_grad():
            other = network(nn.LayerNorm)
            other[0].weight[0, 0] += rank
        CoherenceMonitor(other, loss_fn, sample, 1, ["a", "b"])(0)

    def loss_of_rank_1(outputs, targets):
        if rank == 1:
            raise FloatingPointError("only here")
        return loss_fn(outputs, targets)

    def file_is_gone(monitor):
        def replace(measured):
            raise OSError("read-only file system")
        monitor._file.replace = replace
        return monitor

    def overflow_of_rank_1(outputs, targets):
        return loss_fn(outputs, targets) * (float("inf") if rank == 1 else 1.0)

    overflow = CoherenceMonitor(model, overflow_of_rank_1, sample[0][:2], 1)
    overflow(0)
    results["diverged"] = overflow.history["diverged"].tolist(), overflow.history["n"].tolist()

    def log_fails(values, step):
        raise OSError("no space left")

    file_of_every_other_step = file_is_gone(CoherenceMonitor(
        model, loss_fn, sample[0][:2], 2, path=f"{folder}/new/c.csv", rank_timeout=10.0
    ))
    two = [(inputs[:2 + rank], targets[:2 + rank])]
    results["failures"] = {
        "other steps": failure(lambda: CoherenceMonitor(model, loss_fn, sample[0][:2], 1)(3 + rank)),
        "other samples": failure(lambda: CoherenceMonitor(model, loss_fn, two, 1)(0)),
        "other weights": failure(weights_differ),
        "one rank's loss": failure(lambda: CoherenceMonitor(model, loss_of_rank_1, sample[0][:2], 1)(0)),
        "the leader's file": failure(lambda: file_is_gone(CoherenceMonitor(
            model, loss_fn, sample[0][:2], 1, path=f"{folder}/new/c.csv"
        ))(0)),
        "the leader's file, before a step that is due": failure(lambda: [
            file_of_every_other_step(step) for step in (1, 2)
        ]),
        "the leader's log": failure(lambda: CoherenceMonitor(model, loss_fn, sample[0][:2], 1, log=log_fails)(0)),
    }
    store = torch.distributed.distributed_c10d._get_default_store()
    later, never = (CoherenceMonitor(model, loss_fn, sample[0][:2], 1, rank_timeout=limit) for limit in (5.0, 2.0))
    torch.distributed.barrier()
    later(0)
    if rank == 0:
        results["failures"]["alone, once all had met"] = failure(lambda: later(1))
        results["failures"]["alone from the start"] = failure(lambda: never(1))
        store.set("done", "1")
    else:
        store.wait(["done"])
    results["after"] = failure(lambda: torch.distributed.barrier())[0]
torch.save(results, f"{folder}/{world}.{rank}.pt")
"""


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{(world, rank): what it found}, and the folder with the files."""
    folder = tmp_path_factory.mktemp("ranks")
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(unused_port())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder)],
            env=common | {"RANK": str(rank), "WORLD_SIZE": str(world)},
            cwd=ROOT,
        )
        for world in (1, 2)
        for rank in range(world)
    ]
    assert [process.wait(timeout=240) for process in processes] == [0, 0, 0]
    names = [(1, 0), (2, 0), (2, 1)]
    return {name: torch.load(folder / "{}.{}.pt".format(*name), weights_only=False) for name in names}, folder


def test_two_ranks_measure_what_one_process_measures(runs):
    found, folder = runs
    alone, together = (pd.DataFrame(found[world, 0]["history"]) for world in (1, 2))
    assert together["step"].tolist() == [0, 2, 4]
    assert together["n"].tolist() == [7, 7, 7]
    assert together["n/group/a"].tolist() == [4, 4, 4]
    pd.testing.assert_frame_equal(together, alone, rtol=1e-11)
    tables = [coherence_table(folder / f"{world}.csv") for world in (1, 2)]
    pd.testing.assert_frame_equal(tables[1], tables[0], rtol=1e-11)


def test_all_ranks_have_one_history_and_the_first_alone_logs(runs):
    found, _ = runs
    assert repr(found[2, 1]["history"]) == repr(found[2, 0]["history"])  # NaN is the same as NaN here
    assert repr(found[2, 1]["state"]) == repr(found[2, 0]["state"])
    assert found[2, 0]["logged"] == [0, 2, 4]
    assert found[2, 1]["logged"] == []


def test_training_of_wrapped_networks_ends_in_the_same_bytes(runs):
    found, _ = runs
    assert all(one["same bytes"] for one in found.values())
    assert "m_coherence/layer/0" in found[2, 0]["history"]  # not module.0


def test_a_rank_without_examples_takes_part(runs):
    found, _ = runs
    for one in found.values():
        assert one["one example"] == pytest.approx([1.0, 1.0])


def test_what_is_measured_is_the_network_of_rank_0(runs):
    """Between updates the ranks' running statistics differ; those of rank 0 are measured, and all are put back."""
    found, _ = runs
    states = [found[2, rank]["batch norm"][1] for rank in (0, 1)]
    assert not torch.equal(states[0]["1.running_mean"], states[1]["1.running_mean"])
    torch.set_default_dtype(torch.float64)
    try:
        model = torch.nn.Sequential(
            torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5), torch.nn.ReLU(), torch.nn.Linear(5, 3)
        )
        generator = torch.Generator().manual_seed(0)
        inputs, targets = torch.randn(40, 6, generator=generator), torch.randint(0, 3, (40,), generator=generator)
    finally:
        torch.set_default_dtype(torch.float32)
    model.load_state_dict(states[0])
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    expected = gradient_statistics(model, loss, [(inputs[:9], targets[:9])]).m_coherence()
    for rank in (0, 1):
        assert found[2, rank]["batch norm"][0] == pytest.approx(expected, rel=1e-12)
        assert found[2, rank]["buffers kept"]


def test_losses_that_are_infinite_on_one_rank_are_one_diverged_row_on_all(runs):
    for rank in (0, 1):
        assert runs[0][2, rank]["diverged"] == ([True], [4])


@pytest.mark.parametrize(
    ("case", "messages"),
    [
        ("other steps", [r"UserError: monitor: found steps \[3, 4\] on the ranks, expected the same"] * 2),
        ("other samples", ["UserError: monitor: found other samples, groups or schedules on the ranks"] * 2),
        ("other weights", ["UserError: monitor: found other weights on the ranks"] * 2),
        (
            "one rank's loss",
            [r"UserError: monitor: the measurement failed on rank 1 \(only here\)", "FloatingPointError: only here"],
        ),
        (
            "the leader's file",
            ["OSError: read-only", r"UserError: monitor: the measurement failed on rank 0 \(read-only file system\)"],
        ),
        (
            "the leader's file, before a step that is due",
            ["OSError: read-only", r"UserError: monitor: the measurement failed on rank 0 \(read-only file system\)"],
        ),
        (
            "the leader's log",
            ["OSError: no space left", r"UserError: monitor: the measurement failed on rank 0 \(no space left\)"],
        ),
    ],
)
def test_an_error_of_one_rank_ends_the_measurement_on_all(runs, case, messages):
    found, _ = runs
    for rank, message in enumerate(messages):
        assert re.match(message, found[2, rank]["failures"][case][0])


@pytest.mark.parametrize(("case", "limit"), [("alone, once all had met", 5), ("alone from the start", 2)])
def test_a_monitor_that_is_called_on_one_rank_alone_does_not_wait_for_ever(runs, case, limit):
    message, seconds = runs[0][2, 0]["failures"][case]
    expected = f"UserError: monitor: rank 0 of 2 is to measure step 1, and not every rank came within {limit} s"
    assert message.startswith(expected)
    assert message.endswith("call the monitor on all ranks at the same steps, not on rank 0 alone")
    assert seconds >= limit
    assert all(runs[0][2, rank]["after"] == "" for rank in (0, 1))  # the program's own group still works


def test_shares_are_the_sample_in_its_order_and_differ_by_one_example_at_most():
    inputs = torch.arange(11.0)[:, None]
    sample = ProbeSample.of([(inputs[:6], inputs[:6]), (inputs[6:], inputs[6:])], None)
    for world in (1, 2, 3, 5, 12):
        shares = [[x for batch in sample.share(rank, world) for x in batch[0][:, 0].tolist()] for rank in range(world)]
        assert np.concatenate(shares).tolist() == list(range(11))
        assert {len(share) for share in shares} <= {11 // world, 11 // world + 1}
    assert ProbeSample.of((inputs, inputs), None).digest == sample.digest
