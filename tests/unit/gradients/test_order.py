"""A measurement depends on no order that differs between processes: of sets, of names, of places in memory.

Python draws the order of a set of strings anew in every process. What is looked at of a batch, and what is added up, is
in the model's order; so all bits are the same, those of the evidence too.
"""

import os
import subprocess
import sys

MEASURE = """
import hashlib
import torch
from torch import nn
from mcoherence import example_statistics, gradient_statistics


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 6), nn.Linear(6, 7)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm, self.scale = nn.LayerNorm(6), nn.Parameter(torch.ones(6))
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens) * self.scale
        return self.head(self.norm(x + self.attention(x, x, x, need_weights=False)[0]).mean(1))


def hooked(model):
    for p in list(model.parameters())[:3]:
        p.register_hook(lambda gradient: gradient * 1.0)
    return model


torch.manual_seed(0)
images, tokens, targets = torch.randn(12, 3, 8, 8), torch.randint(7, (12, 5)), torch.arange(12) % 4
convolutions = [nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten()]
# Two units, which are dead for many examples: then others are looked at besides, those with the longest gradients.
narrow = [nn.Sequential(nn.Flatten(), nn.Linear(192, 2), nn.ReLU(), nn.Linear(2, 4)) for _ in range(6)]
cases = [
    *((model, images) for model in narrow), (nn.Sequential(*convolutions, nn.Linear(128, 4)), images), (Tied(), tokens),
    (hooked(Tied()), tokens),
]
digest = hashlib.sha256()
loss = nn.CrossEntropyLoss(reduction="none")
for model, inputs in cases:
    for dtype in (torch.float32, torch.float64):
        model = model.to(dtype)
        one = inputs.to(dtype) if inputs.is_floating_point() else inputs
        for measured in (
            gradient_statistics(model, loss, [(one, targets)], spot_check=1),
            example_statistics(model, loss, [(one, targets)], {"sum": "sum"}),
        ):
            digest.update(repr(measured.evidence).encode())
            for value in vars(measured).values():
                for tensor in value if isinstance(value, (list, tuple)) else [value]:
                    if hasattr(tensor, "tobytes") or isinstance(tensor, torch.Tensor):
                        digest.update(bytes(memoryview(torch.as_tensor(tensor).numpy()).cast("B")))
                    else:
                        digest.update(repr(tensor).encode())
print(digest.hexdigest())
"""


def test_all_bits_are_the_same_in_whatever_order_a_process_keeps_its_sets():
    found = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", MEASURE],
            env=os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in "012"
    }  # fmt: skip
    assert len(found) == 1, found
