"""Memory of a call: no block of examples times parameters, and nothing that grows with the number of batches."""

import subprocess
import sys

import pytest
import torch

from mcoherence.gradients.layer_rules.products import examples_at_a_time

# Peak resident memory of a process that passes over some batches of 64 examples, in MiB, beyond what imports take.
PROGRAM = """
import resource, sys
import torch
from torch import nn
from mcoherence import example_statistics, gradient_statistics
from mcoherence.gradients import example_products

example_products.MOST_BYTES = 0  # what is kept of the first batches does grow, up to this
torch.set_num_threads(1)
model = nn.Sequential(
    nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 14 * 14, 600), nn.ReLU(), nn.Linear(600, 10)
)
generator = torch.Generator().manual_seed(0)
inputs, targets = torch.randn(64, 3, 16, 16, generator=generator), torch.arange(64) % 10
unit = 2**20 if sys.platform == "darwin" else 2**10
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
along = {"along": "sum"} if sys.argv[2] == "example_statistics" else {}
batches = [(inputs, targets)] * int(sys.argv[1])
globals()[sys.argv[2]](model, nn.CrossEntropyLoss(reduction="none"), batches, **along)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit)
"""
PARAMETERS_MIB = (16 * 14 * 14 * 600 + 600 * 10) * 4 / 2**20  # 7.2


def peak_mib(call, batches):
    program = [sys.executable, "-c", PROGRAM, str(batches), call]
    answer = subprocess.run(program, capture_output=True, text=True, check=True)
    return float(answer.stdout)


@pytest.mark.slow
# Gradients of the whole model that 38 batches more may take room for; rows of numbers of examples hold pages of a heap.
@pytest.mark.parametrize(("call", "gradients"), [("gradient_statistics", 1), ("example_statistics", 5)])
def test_no_block_of_examples_times_parameters_is_formed_and_nothing_grows_with_the_batches(call, gradients):
    one, many = peak_mib(call, 2), peak_mib(call, 40)
    assert one < 64 * PARAMETERS_MIB / 4  # a block of 64 rows of gradients would take 460 MiB
    assert many - one < gradients * PARAMETERS_MIB


def test_temporaries_are_larger_where_a_chunk_costs_launches():
    """A layer of 2^22 elements an example: two at a time on a processor, sixteen on a GPU; one where none fits."""
    assert [examples_at_a_time(torch.device(kind), 2**22) for kind in ("cpu", "cuda", "mps")] == [2, 16, 16]
    assert examples_at_a_time(torch.device("cpu"), 2**30) == 1
