"""Measure a model in eval mode and leave it as it was found."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

import torch
from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode inside the block; afterwards each module's mode and torch's generators as before.

    Recurrent layers that cuDNN runs stay in training mode, since it has no backward pass in eval mode; their dropout,
    which is all that the mode decides, is 0 meanwhile.
    """
    modes = {module: module.training for module in model.modules()}
    recurrent = [module for module in model.modules() if runs_on_cudnn(module)]
    dropouts = [layer.dropout for layer in recurrent]
    cuda_devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=cuda_devices):
        try:
            model.eval()
            for layer in recurrent:
                layer.training, layer.dropout = True, 0.0
            yield
        finally:
            for module, training in modes.items():
                module.training = training
            for layer, dropout in zip(recurrent, dropouts, strict=True):
                layer.dropout = dropout


def runs_on_cudnn(module: nn.Module) -> TypeGuard[nn.RNNBase]:
    """Whether a module is a recurrent layer on a GPU."""
    return isinstance(module, nn.RNNBase) and any(p.device.type == "cuda" for p in module.parameters())
