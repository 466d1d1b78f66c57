"""Batch normalisation in eval mode: an affine map per channel of x_hat = (x - running mean) / sqrt(running var + eps).

In eval mode no example sees another, so that the gradient of one example is defined and is the one that a batch of one
gives. With batch statistics it is not; `gradients.statistics` refuses such layers before any work.
"""

import torch
from torch import Tensor, nn

from mcoherence.gradients.layer_rules import layer_rule, trainable
from mcoherence.gradients.layer_rules.products import squared_norms


@layer_rule(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
def batch_norm_eval(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms for inputs and output_grads [n, C, *]: sum_t b_t x_hat_t for weight, sum_t b_t for bias."""
    assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    b = output_grads.flatten(2) if output_grads.dim() > 2 else output_grads.unsqueeze(2)
    norms = {}
    for name in trainable(layer):
        if name == "weight":
            x = inputs.reshape(b.shape)
            scale = torch.rsqrt(layer.running_var + layer.eps).reshape(1, -1, 1)
            x_hat = (x - layer.running_mean.reshape(1, -1, 1)) * scale
            norms[name] = squared_norms((b * x_hat).sum(dim=2))
        else:
            norms[name] = squared_norms(b.sum(dim=2))
    return norms
