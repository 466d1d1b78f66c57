"""Memory of a call: no block of examples times parameters, and nothing that grows with the number of batches."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from mcoherence.gradients.layer_rules import convolution, products

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


CONVOLUTION = nn.Conv2d(2, 3, 2)


def norms_of_products(device, positions, d, p):
    generator = torch.Generator().manual_seed(0)
    pair = (torch.randn(7, positions, size, generator=generator, dtype=torch.float64) for size in (d, p))
    return products.product_squared_norms(*(one.to(device) for one in pair))


def norms_of_convolution(device, way):
    generator = torch.Generator().manual_seed(0)
    pair = (torch.randn(7, *shape, generator=generator, dtype=torch.float64) for shape in ((2, 4, 4), (3, 3, 3)))
    return convolution.weight_squared_norms(CONVOLUTION, *(one.to(device) for one in pair), way)


# Elements of the temporary of one example: a Gram matrix of 2 positions, a gradient of 4 x 5; 16 pixels squared,
# patches of 8 by 9 positions with their Gram matrix of 81, or with a gradient of 24.
@pytest.mark.parametrize(
    ("norms", "elements"),
    [
        (partial(norms_of_products, positions=2, d=8, p=8), 4),
        (partial(norms_of_products, positions=3, d=4, p=5), 20),
        (partial(norms_of_convolution, way="shifted"), 256),
        (partial(norms_of_convolution, way="gram"), 153),
        (partial(norms_of_convolution, way="rows"), 96),
    ],
)
def test_temporaries_keep_to_the_budget_of_the_device_and_numbers_do_not_depend_on_it(monkeypatch, norms, elements):
    """Of 7 examples: one at a time where none fits, three, all; a device without data stands for any but the CPU."""
    sizes = []
    for module in (products, convolution):
        for name in ("squared_norms", "gram_squared_norms"):
            monkeypatch.setattr(module, name, noted(getattr(module, name), sizes))
    whole = norms("cpu")
    for device, own, other in (
        ("cpu", "BUDGET_ON_PROCESSOR", "BUDGET_ELSEWHERE"),
        ("meta", "BUDGET_ELSEWHERE", "BUDGET_ON_PROCESSOR"),
    ):
        monkeypatch.setattr(products, other, 2**40)
        for budget, expected in ((elements - 1, [1] * 7), (4 * elements - 1, [3, 3, 1]), (7 * elements, [7])):
            monkeypatch.setattr(products, own, budget)
            sizes.clear()
            found = norms(device)
            assert sizes == expected
            assert device == "meta" or torch.allclose(found, whole, rtol=1e-12)


def noted(norms, sizes):
    """A function of some examples' rows that notes how many they are."""

    def noting(rows, *others):
        sizes.append(len(rows))
        return norms(rows, *others)

    return noting
