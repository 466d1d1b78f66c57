"""Normalisation layers: an elementwise affine map weight * x_hat + bias of a normalised input x_hat.

x_hat of an example depends on that example alone: by its own statistics (layer, group, instance and RMS norm), or by
running ones (batch norm, and instance norm that tracks them, in eval mode). With batch statistics no example has a
gradient of its own; `gradients.statistics` refuses such layers before any work.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mcoherence.gradients.layer_rules.channels import MANY_POSITIONS, channel_rows
from mcoherence.gradients.layer_rules.products import squared_norms
from mcoherence.gradients.layer_rules.registry import NotModelledError, layer_rule, weight_and_bias


@layer_rule(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, linear_in_parameters=True)
def batch_norm_eval(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms for inputs and output_grads [n, C, *]."""
    assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    if layer.training or layer.running_mean is None or layer.running_var is None:
        raise NotModelledError("batch norm by the statistics of the batch")
    if output_grads.device.type == "cpu" and output_grads.shape[2:].numel() >= MANY_POSITIONS:
        return _by_library(layer, inputs, output_grads, layer.running_mean, layer.running_var)
    return _per_channel(layer, _by_running_statistics(layer, inputs), output_grads)


@layer_rule(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, linear_in_parameters=True)
def instance_norm_eval(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms for inputs and output_grads [n, C, *], by running statistics where the layer tracks them."""
    assert isinstance(layer, nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d)
    axes = {nn.InstanceNorm1d: 3, nn.InstanceNorm2d: 4, nn.InstanceNorm3d: 5}[type(layer)]
    if inputs.dim() != axes or layer.training:
        raise NotModelledError(f"instance norm of an input without a batch axis, shape {tuple(inputs.shape)}")
    x_hat = (
        F.instance_norm(inputs, eps=layer.eps) if layer.running_mean is None else _by_running_statistics(layer, inputs)
    )
    return _per_channel(layer, x_hat, output_grads)


@layer_rule(nn.GroupNorm, linear_in_parameters=True)
def group_norm(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms for inputs and output_grads [n, C, *]."""
    assert isinstance(layer, nn.GroupNorm)
    return _per_channel(layer, F.group_norm(inputs, layer.num_groups, eps=layer.eps), output_grads)


@layer_rule(nn.LayerNorm, linear_in_parameters=True)
def layer_norm(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms for inputs and output_grads [n, *, *normalized_shape]."""
    assert isinstance(layer, nn.LayerNorm)
    x_hat = F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
    return _per_element(layer, len(layer.normalized_shape), x_hat, output_grads)


@layer_rule(nn.RMSNorm, linear_in_parameters=True)
def rms_norm(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms for inputs and output_grads [n, *, *normalized_shape]; there is no bias."""
    assert isinstance(layer, nn.RMSNorm)
    # The default eps is that of the dtype the layer runs in, which may be narrower than that of `inputs` here.
    eps = torch.finfo(layer.weight.dtype).eps if layer.eps is None else layer.eps
    x_hat = F.rms_norm(inputs, list(layer.normalized_shape), eps=eps)
    return _per_element(layer, len(layer.normalized_shape), x_hat, output_grads)


def _by_library(
    layer: nn.Module, inputs: Tensor, output_grads: Tensor, mean: Tensor, variance: Tensor
) -> dict[str, Tensor]:
    """Squared norms for inputs and output_grads [n, C, *] and statistics [C]."""
    names = weight_and_bias(layer)
    assert isinstance(layer.eps, float)
    rows = dict(zip(("weight", "bias"), channel_rows(inputs, output_grads, mean, variance, layer.eps), strict=True))
    return {name: squared_norms(rows[name]) for name in names}


def _by_running_statistics(layer: nn.Module, inputs: Tensor) -> Tensor:
    """(x - running mean) / sqrt(running variance + eps) for inputs [n, C, *]."""
    mean, variance = layer.running_mean, layer.running_var
    assert isinstance(mean, Tensor)
    assert isinstance(variance, Tensor)
    assert isinstance(layer.eps, float)
    return F.batch_norm(inputs, mean.to(inputs.dtype), variance.to(inputs.dtype), eps=layer.eps)


def _per_channel(layer: nn.Module, x_hat: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms of sum_t b_t x_hat_t and sum_t b_t, one weight and bias per channel; x_hat, b [n, C, *]."""
    n, channels = output_grads.shape[:2]
    return _affine(layer, x_hat.reshape(n, channels, -1), output_grads.reshape(n, channels, -1), 2)


def _per_element(layer: nn.Module, axes: int, x_hat: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms for one weight and bias per element of the last `axes` axes."""
    if output_grads.dim() <= axes:
        raise NotModelledError(f"{type(layer).__name__} over the axis of the examples")
    shape = (output_grads.shape[0], -1, output_grads.shape[-axes:].numel())
    return _affine(layer, x_hat.reshape(shape), output_grads.reshape(shape), 1)


def _affine(layer: nn.Module, x_hat: Tensor, b: Tensor, positions: int) -> dict[str, Tensor]:
    """Squared norms of weight and bias for x_hat and b of three axes, of which `positions` is summed over."""
    names = weight_and_bias(layer)
    norms = {}
    if "weight" in names:
        norms["weight"] = squared_norms(torch.linalg.vecdot(b, x_hat, dim=positions))
    if "bias" in names:
        norms["bias"] = squared_norms(b.sum(dim=positions))
    return norms
