"""Measure a model in eval mode and leave it as it was found."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode inside the block; afterwards each module's mode and torch's generators as before."""
    modes = {module: module.training for module in model.modules()}
    cuda_devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=cuda_devices):
        try:
            model.eval()
            yield
        finally:
            for module, training in modes.items():
                module.training = training
