"""Seconds of one update of winsorised SGD against one of plain SGD.

    python benchmarks/winsorized.py [--json FILE] [--rounds 15] [--threads 1] [--batch 100]

Two networks on images of 1x28x28, ten classes: the MLP of arXiv 2002.10657 on MNIST, three hidden layers of 256, and a
small CNN with group norm (16 and 32 channels, hidden layer of 128). The images are blobs on a constant ground, so that
pixels of the margin never change, as in MNIST. An update is forward pass, backward pass and step. SGD and every c take
turns, round after round, in one process. Given are medians of wall time and of processor time, and the median over
rounds of the ratio to SGD's processor time: what else the machine does hits it least. Each network has trained for
`--warm` updates of SGD before, since gradients of a trained network are more often zero.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mcoherence.models.build import build_model
from mcoherence.training.optimizer import make_optimizer

NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"architecture": "mlp", "hidden": [256, 256, 256]},
    "cnn": {"architecture": "cnn_group_norm", "channels": [16, 32], "hidden": 128},
}
CLIPPED = (1, 2, 4, 8)


def blobs(size: int) -> tuple[Tensor, Tensor]:
    """(images [size, 1, 28, 28], labels [size]): a noisy blob in each, of a place that its label decides."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (size,), generator=generator)
    angle = labels * (2 * torch.pi / 10) + 0.3 * torch.randn(size, generator=generator)
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    down, right = 13.5 + 5 * angle.sin(), 13.5 + 5 * angle.cos()
    distance = (rows - down[:, None, None]).square() + (columns - right[:, None, None]).square()
    images = (1.5 - distance / 12).clamp(0, 1) * (0.5 + 0.5 * torch.rand(size, 28, 28, generator=generator))
    return ((images - 0.1307) / 0.3081)[:, None], labels


def update(model: nn.Module, settings: dict[str, Any], inputs: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    """One update of an optimiser on this mini-batch."""
    optimizer = make_optimizer(settings, model)
    return lambda: optimizer.step_on([(inputs, labels)], lambda x, y: F.cross_entropy(model(x), y))


def rows_of(network: str, batch: int, rounds: int, warm: int, threads: int) -> list[dict[str, Any]]:
    """A row for SGD and for each c."""
    inputs, labels = blobs(batch)
    optimizers: dict[str, dict[str, Any]] = {"sgd": {"method": "sgd", "lr": 0.05}}
    optimizers |= {f"c = {c}": {"method": "winsorized", "lr": 0.05, "c": c} for c in CLIPPED}
    runs = {}
    for name, settings in optimizers.items():
        torch.manual_seed(0)
        model = build_model(NETWORKS[network], (1, 28, 28), 10).train()
        plain = update(model, optimizers["sgd"], inputs, labels)
        for _ in range(warm):
            plain()
        runs[name] = update(model, settings, inputs, labels)
    wall: dict[str, list[float]] = {name: [] for name in runs}
    processor: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 2):
        for name, run in runs.items():
            start, start_processor = time.perf_counter(), time.process_time()
            run()
            if number >= 2:
                processor[name].append(time.process_time() - start_processor)
                wall[name].append(time.perf_counter() - start)
    found: list[dict[str, Any]] = []
    for name in runs:
        ratio = statistics.median(a / b for a, b in zip(processor[name], processor["sgd"], strict=True))
        row = {
            "network": network, "optimizer": name, "batch": batch, "warm": warm, "threads": threads,
            "wall": statistics.median(wall[name]), "processor": statistics.median(processor[name]),
            "ratio_to_sgd": ratio, "load": os.getloadavg()[0],
        }  # fmt: skip
        found.append(row)
        print(
            f"{network} {name:6s} warm {warm:4d}: wall {row['wall'] * 1e3:7.1f} ms, processor "
            f"{row['processor'] * 1e3:7.1f} ms, {ratio:6.2f} x SGD, load {row['load']:.1f}",
            flush=True,
        )
    return found


def main() -> None:
    """Print the rows, and write them where --json says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="file to write the rows to")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--warm", type=int, nargs="+", default=[0, 200])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = [(network, warm) for network in NETWORKS for warm in arguments.warm]
    rows = [
        row
        for network, warm in settings
        for row in rows_of(network, arguments.batch, arguments.rounds, warm, arguments.threads)
    ]
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
