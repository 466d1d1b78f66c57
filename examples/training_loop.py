"""A training loop with a monitor: which examples agree while a network learns, and then memorises, noisy labels."""

import torch
from torch import nn

from mcoherence import CoherenceMonitor
from mcoherence.data import corrupt_labels


def main() -> CoherenceMonitor:
    """Train a small network on three clouds of points, 40% of whose labels are random, and print what was measured."""
    torch.manual_seed(0)
    classes = torch.randint(0, 3, (600,))
    inputs = 1.5 * torch.eye(20)[classes] + 0.5 * torch.randn(600, 20)
    labels, _, changed = corrupt_labels(classes, 3, fraction=0.4, seed=0)
    targets, wrong = torch.as_tensor(labels), torch.as_tensor(changed).long()

    model = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    monitor = CoherenceMonitor(
        model,
        nn.CrossEntropyLoss(reduction="none"),
        sample=(inputs[:256], targets[:256], wrong[:256]),
        every={"every_step_until": 1, "per_doubling": 1},  # at 0, 1, 2, 4, 8, ...
        groups=["pristine", "corrupt"],
        path="coherence.csv",
    )
    monitor(0)
    for step in range(1, 1025):
        chosen = torch.randint(0, 600, (50,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen]).backward()
        optimizer.step()
        monitor(step)

    columns = ["step", "m_coherence", "m_coherence/group/pristine", "m_coherence/group/corrupt"]
    print(monitor.history[columns].round(2).to_string(index=False))
    print(monitor.cost)
    return monitor


if __name__ == "__main__":
    main()
