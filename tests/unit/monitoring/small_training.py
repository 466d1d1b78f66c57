"""A training loop with everything that a monitor could disturb, and the bytes that it ends in."""

import hashlib
import pickle
import random

import numpy as np
import torch
from torch import nn

LOSS = nn.CrossEntropyLoss(reduction="none")


def sample(m=30, seed=5):
    """(inputs [m, 6], targets [m], group ids [m]) from a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = (
        torch.randn(m, 6, generator=generator), torch.randint(0, 3, (m,), generator=generator)
    )  # fmt: skip
    return inputs, targets, torch.arange(m) % 2


class Training:
    """SGD with momentum on a network with batch norm, dropout and a frozen layer, under autocast with a GradScaler.

    Mini-batches come from torch's generator, augmentation from NumPy's and Python's; batch norm 4 is kept in eval mode.
    """

    def __init__(self):
        torch.manual_seed(1)
        np.random.seed(2)  # noqa: NPY002
        random.seed(3)
        self.model = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.Linear(8, 5),
            nn.Linear(5, 3),
        )  # fmt: skip
        self.model[4].eval()
        self.model[5].requires_grad_(False)
        self.optimizer = torch.optim.SGD([p for p in self.model.parameters() if p.requires_grad], 0.1, momentum=0.9)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
        self.inputs, self.targets, _ = sample(60, seed=9)
        self.losses = []

    def update(self):
        chosen = torch.randint(0, 60, (12,))
        inputs = self.inputs[chosen] * (1 + 0.1 * random.random()) + float(np.random.randn())  # noqa: NPY002
        self.optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = LOSS(self.model(inputs), self.targets[chosen]).mean()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.losses.append(loss.item())

    def run(self, steps, monitor=lambda step: None, start=0):
        for step in range(start + 1, steps + 1):
            self.update()
            monitor(step)
        return self

    def state(self):
        """All that training goes on from; it can be saved with torch.save."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generators": [torch.get_rng_state(), np.random.get_state(), random.getstate()],  # noqa: NPY002
            "losses": self.losses,
        }

    def go_on_from(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["generators"][0])
        np.random.set_state(state["generators"][1])  # noqa: NPY002
        random.setstate(state["generators"][2])
        self.losses = list(state["losses"])
        return self

    def bytes(self):
        """A digest of all that could differ: the state, gradients, modes, and whether autocast is on."""
        found = {
            **self.state(),
            "gradients": {name: p.grad for name, p in self.model.named_parameters()},
            "modes": {name: module.training for name, module in self.model.named_modules()},
            "requires_grad": [p.requires_grad for p in self.model.parameters()],
            "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in self.model.modules()],
            "autocast": [torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.is_grad_enabled()],
            "products": torch.get_float32_matmul_precision(),
        }
        return hashlib.sha256(repr(plain(found)).encode()).hexdigest()


def plain(value):
    """Tensors and arrays as their bytes, containers as lists."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.detach().contiguous().view(-1).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return [(key, plain(inner)) for key, inner in value.items()]
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return pickle.dumps(value)
