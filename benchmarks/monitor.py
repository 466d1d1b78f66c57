"""What a monitor adds to training: 256 probe examples every 100 updates of 64, for a small MLP and a small CNN.

Seconds are those of the processor, one thread, so that what else the machine does counts little. The first measurement
of a network is told apart; the first of all in a process loads code besides.

    OMP_NUM_THREADS=1 python benchmarks/monitor.py
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import torch
from torch import nn

from mcoherence import CoherenceMonitor

PROBE, BATCH, EVERY = 256, 64, 100


def mlp() -> nn.Module:
    """784-256-10, 0.2 million weights."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def cnn() -> nn.Module:
    """Two convolutions with batch norm and pooling on 28 x 28 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 49, 10),
    )  # fmt: skip


def timed(network: nn.Module, path: Path | None, updates: int) -> tuple[float, float, float]:
    """Seconds of an update, of the first measurement, and of a later one on average."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(2048, 1, 28, 28), torch.randint(0, 10, (2048,))
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    loss = nn.CrossEntropyLoss(reduction="none")
    monitor = CoherenceMonitor(network, loss, (inputs[:PROBE], targets[:PROBE]), EVERY, path=path)
    measuring: list[float] = []
    begin = time.process_time()
    for step in range(updates + 1):
        if step:
            chosen = torch.randint(0, len(inputs), (BATCH,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[chosen]), targets[chosen]).backward()
            optimizer.step()
        start = time.process_time()
        if monitor(step) is not None:
            measuring.append(time.process_time() - start)
    training = time.process_time() - begin - sum(measuring)
    return training / updates, measuring[0], sum(measuring[1:]) / len(measuring[1:])


def main() -> None:
    """Print a row for each network and kind of file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=1000)
    updates = parser.parse_args().updates
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("network  file  update [ms]  first [ms]  later [ms]  share of training with the monitor")
    for make in (mlp, cnn):
        for suffix in ("", ".csv", ".h5"):
            with tempfile.TemporaryDirectory() as folder:
                update, first, later = timed(make(), Path(folder) / f"c{suffix}" if suffix else None, updates)
            share = later / (EVERY * update + later)
            figures = "".join(f"{1000 * value:13.1f}" for value in (update, first, later))
            print(f"{make.__name__:7}  {suffix or '-':4}{figures}  {share:.1%}")


if __name__ == "__main__":
    main()
