"""How many operations of torch a measurement of ResNet-18 is, and an update of it: what a GPU would be asked to launch.

Counted on the processor, views left out: every call that reaches the dispatcher below autograd. On a GPU some are
others: the optimiser's go together there, and values that Python asks for on the processor are left where they are.

    OMP_NUM_THREADS=1 python benchmarks/operations.py
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models import resnet18

from mcoherence import CoherenceMonitor

EXAMPLES = 8


class Counting(TorchDispatchMode):
    """Counts operations that compute."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count a call and make it."""
        if func is not torch.ops.aten._local_scalar_dense.default:  # which hands a number to Python
            self.operations += not func.is_view
        return func(*args, **(kwargs or {}))


def counted(call: Callable[[], Any]) -> int:
    """How many operations a call is."""
    with Counting() as counting:
        call()
    return counting.operations


def main() -> None:
    """Print the counts of an update, a checked measurement and one between checks."""
    torch.manual_seed(0)
    model = resnet18(num_classes=10)
    inputs, targets = torch.randn(EXAMPLES, 3, 32, 32), torch.randint(0, 10, (EXAMPLES,))
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    monitor = CoherenceMonitor(model, nn.CrossEntropyLoss(reduction="none"), (inputs, targets), every=1)

    def update() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    update()
    print("an update                     ", counted(update))
    print("a measurement, checked in full", counted(lambda: monitor(0)))
    print("a measurement between checks  ", counted(lambda: monitor(1)))


if __name__ == "__main__":
    main()
