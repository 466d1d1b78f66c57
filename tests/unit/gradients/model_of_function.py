"""A model that is written down in one line."""

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
