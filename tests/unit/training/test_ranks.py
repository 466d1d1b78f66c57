"""Two processes that share a run make the updates of one, to rounding, however the examples fall to them."""

import os
import subprocess
import sys

import pytest
import torch

from mcoherence.errors import UserError
from mcoherence.training.ranks import Ranks, with_shared_statistics

# Trains every case on this rank's share and writes what the leader has at the end; run once per rank.
SCRIPT = """
import sys
from dataclasses import dataclass
import torch
from mcoherence.training.ranks import joined
from mcoherence.training.loop import train
from mcoherence.training.settings import Execution, TrainingSettings

@dataclass(frozen=True)
class InMemory:
    inputs: torch.Tensor
    labels: torch.Tensor
    num_classes: int = 3
    def __len__(self): return len(self.inputs)
    @property
    def input_shape(self): return tuple(self.inputs.shape[1:])
    def batches(self, schedule):
        for _, positions in schedule:
            index = torch.from_numpy(positions)
            yield self.inputs[index], self.labels[index]

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
inputs, labels = torch.randn(20, 1, 2, 2, generator=generator), torch.randint(0, 3, (20,), generator=generator)
results = {}
with joined(torch.device("cpu")) as ranks:
    for method, batch_size in (("sgd", 8), ("sgd", 17), ("m3", 7), ("m3", 14), ("rm3", 7), ("gradient_agreement", 14)):
        groups = {"m3": 3, "gradient_agreement": 2}.get(method, 1)
        optimizer = {"method": method, "lr": 0.5} | ({"groups": groups} if groups > 1 else {})
        model = {"architecture": "mlp", "hidden": [5]}
        settings = TrainingSettings(model, optimizer, 1, groups, batch_size, "float64", False, 0, 9, (9,), 1)
        kept = {}
        def save(step, epoch, model, diverged_at):
            kept.update({name: value.clone() for name, value in model.state_dict().items()})
        log, _ = train(settings, InMemory(inputs, labels), Execution(torch.device("cpu"), ranks), save)
        if ranks.leads:
            results[method, batch_size] = kept, torch.from_numpy(log.loss)
        assert ranks.leads == bool(kept)
    if ranks.leads:
        torch.save(results, sys.argv[1])
"""


def train_on(world, path, port):
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    processes = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], env=common | {"RANK": str(rank)})
        for rank in range(world)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0] * world
    return torch.load(path)


def test_two_ranks_equal_one_process_for_any_batch_size(tmp_path, unused_port):
    """Last mini-batches of 4, 3 and 6 out of 20: shares of 2 and 2, of 2 and 1, of 1 for each group and rank."""
    alone, together = (train_on(world, tmp_path / f"{world}.pt", unused_port) for world in (1, 2))
    assert len(alone) == 6
    for case, (weights, losses) in alone.items():
        for name, value in weights.items():
            assert torch.allclose(together[case][0][name], value, rtol=1e-12, atol=1e-14), (case, name)
        assert torch.allclose(together[case][1], losses, rtol=1e-12), case


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_batch_norm_on_several_processors_is_refused():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    with pytest.raises(
        UserError, match=r"operational\.ranks: found 2 on cpu, expected 1 for a network with batch norm"
    ):
        with_shared_statistics(model, torch.device("cpu"), Ranks(0, 2))
    assert with_shared_statistics(model, torch.device("cpu"), Ranks()) is model
    plain = torch.nn.Linear(2, 2)
    assert with_shared_statistics(plain, torch.device("cpu"), Ranks(0, 2)) is plain
    shared = with_shared_statistics(model, torch.device("cuda"), Ranks(0, 2))
    assert isinstance(shared[1], torch.nn.SyncBatchNorm)
    assert shared[1].weight is model[1].weight


def test_the_readers_of_a_job_are_shared_out_over_its_ranks():
    assert [Ranks(rank, 8).readers(14) for rank in range(8)] == [1, 2, 2, 2, 1, 2, 2, 2]
    assert [Ranks(rank, 4).readers(2) for rank in range(4)] == [1, 1, 1, 1]  # one each at least
    assert (Ranks(0, 4).readers(0), Ranks().readers(14)) == (0, 14)
