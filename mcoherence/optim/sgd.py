"""SGD on the mean gradient of a mini-batch, by torch's own rule."""

import inspect

import torch

from mcoherence.optim.descent import EagerOptimizer


class SGD(EagerOptimizer, torch.optim.SGD):
    """torch.optim.SGD, unchanged in what it computes: momentum, Nesterov and weight decay as documented there."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))
