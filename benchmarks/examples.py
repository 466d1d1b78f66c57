"""What single examples cost: `example_statistics` with the sum of gradients over `gradient_statistics` alone.

    python benchmarks/examples.py [--rounds 15] [--json FILE]

Both get the same model and the same 12 batches, and take turns in one process, so that whatever else the machine does
hits both; the table gives medians of the processor's time of one thread, and the median of the ratios of a round.
`no room` is the same with nothing kept of the first pass, so that every batch is passed once more: what a large sample
costs.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mcoherence import example_statistics, gradient_statistics
from mcoherence.gradients import example_products

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")
BATCHES = 12
Batches = list[tuple[Tensor, Tensor]]


def mlp() -> tuple[nn.Module, Batches]:
    """Three hidden layers of 256, batches of 100 vectors of 784."""
    widths = (784, 256, 256, 256)
    hidden = [layer for d, p in itertools.pairwise(widths) for layer in (nn.Linear(d, p), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(256, 10)), _batches(100, 784)


def cnn() -> tuple[nn.Module, Batches]:
    """Three convolutions of 16, 16 and 32 channels with batch norm, batches of 180 images of 1x8x8."""
    layers: list[nn.Module] = []
    for before, channels in itertools.pairwise((1, 16, 16, 32)):
        layers += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)), _batches(180, 1, 8, 8)


def _batches(n: int, *shape: int) -> Batches:
    return [(torch.randn(n, *shape), torch.randint(0, 10, (n,))) for _ in range(BATCHES)]


def without_room(call: Callable[[], object]) -> Callable[[], object]:
    """The call with nothing kept of the first pass."""

    def measure() -> object:
        most, example_products.MOST_BYTES = example_products.MOST_BYTES, 0
        try:
            return call()
        finally:
            example_products.MOST_BYTES = most

    return measure


def ways(model: nn.Module, batches: Batches) -> dict[str, Callable[[], object]]:
    """What is compared; the first is what the others are divided by."""
    along_sum = lambda: example_statistics(model, PER_EXAMPLE, batches, along="sum")  # noqa: E731
    return {
        "gradient_statistics": lambda: gradient_statistics(model, PER_EXAMPLE, batches),
        "norms of examples": lambda: example_statistics(model, PER_EXAMPLE, batches),
        "and products with S": along_sum,
        "the same, no room": without_room(along_sum),
    }


def seconds(call: Callable[[], object]) -> float:
    """Processor time of this thread."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def measured(model: nn.Module, batches: Batches, rounds: int) -> dict[str, dict[str, float]]:
    """{way: {"seconds": median, "ratio": median of the ratios to the first way}} over so many rounds, after two."""
    calls = ways(model, batches)
    taken = [{name: seconds(call) for name, call in calls.items()} for _ in range(rounds + 2)][2:]
    first = next(iter(calls))
    return {
        name: {
            "seconds": statistics.median(one[name] for one in taken),
            "ratio": statistics.median(one[name] / one[first] for one in taken),
        }
        for name in calls
    }


def main() -> None:
    """Measure both networks and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", help="file to write the figures to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {}
    for build in (mlp, cnn):
        found[build.__name__] = measured(*build(), options.rounds)
        for name, value in found[build.__name__].items():
            print(f"{build.__name__:5} {name:22} {value['seconds'] * 1e3:8.1f} ms {value['ratio']:6.2f}", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=2)


if __name__ == "__main__":
    main()
