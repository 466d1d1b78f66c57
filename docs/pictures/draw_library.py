"""The pictures of the library for the gallery: one measurement, and a monitor along a training.

    PYTHONPATH=. python docs/pictures/draw_library.py docs/pictures

The first is of the network of docs/gradients.md after some steps, the second is `examples/training_loop.py` as it is.
"""

import runpy
import sys
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from torch import nn

from mcoherence import CoherenceMonitor, gradient_statistics
from mcoherence.data import corrupt_labels

mpl.use("Agg")
ROOT = Path(__file__).parents[2]


def measured_layers() -> Axes:
    """The alphas of the layers of a network after 30 steps on clouds of points, a quarter of the labels random."""
    torch.manual_seed(0)
    classes = torch.randint(0, 10, (240,))
    inputs = 2 * torch.randn(10, 1, 8, 8)[classes] + torch.randn(240, 1, 8, 8)
    labels, _, changed = corrupt_labels(classes, 10, fraction=0.25, seed=0)
    targets, wrong = torch.as_tensor(labels), torch.as_tensor(changed).long()
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 8 * 8, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    batches = [(inputs, targets, wrong)]
    loss = nn.CrossEntropyLoss(reduction="none")
    return gradient_statistics(model, loss, batches, groups=["pristine", "corrupt"]).plot()


def monitored_training() -> Axes:
    """What the monitor of the example saw; its file, in the folder where this runs, goes."""
    monitor: CoherenceMonitor = runpy.run_path(str(ROOT / "examples/training_loop.py"))["main"]()
    Path("coherence.csv").unlink()
    return monitor.plot()


def main(folder: Path) -> None:
    """Write both pictures."""
    drawn = {"statistics": measured_layers(), "monitor": monitored_training()}
    for name, axes in drawn.items():
        axes.figure.savefig(folder / f"library_{name}.png", dpi=110, bbox_inches="tight", metadata={"Software": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
