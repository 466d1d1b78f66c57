"""A model that is written down in one line, and parts of such."""

import torch
from torch import nn


class Model(nn.Module):
    """A model of the given modules and a forward function of (modules, x)."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.function = forward
        for name, value in modules.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.function(self, x)


class Cut(torch.autograd.Function):
    """A constant, but for the graph."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return None


def bare(*shape):
    """A parameter of no module."""
    return nn.Parameter(torch.randn(shape) / 2)


class Turned(torch.autograd.Function):
    """Its backward pass turns the gradients of a batch around by a sign of the batch."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grads):
        return grads * grads.sum().sign()
