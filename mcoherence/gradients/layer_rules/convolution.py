"""Convolutions: a product over the positions of the output map, one product per group of channels.

Index letters: k positions of the kernel, g groups of channels.
"""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mcoherence.gradients.layer_rules import NotModelledError, layer_rule, weight_and_bias
from mcoherence.gradients.layer_rules.products import product_squared_norms, squared_norms

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


@layer_rule(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def convolution(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms for inputs [n, C, *] and output_grads [n, p, *], whatever the stride, padding, mode or groups."""
    assert isinstance(layer, Convolution)
    _require_batch_axis(layer, inputs)
    n, groups = inputs.shape[0], layer.groups
    b = output_grads.flatten(2)
    names = weight_and_bias(layer)
    norms = {}
    if "weight" in names:
        # Channels come before kernel positions, so that the patches of a group of channels are adjacent.
        patches = _patches(layer, inputs)
        a_groups = patches.reshape(n * groups, -1, patches.shape[-1]).transpose(1, 2)
        b_groups = b.reshape(n * groups, -1, b.shape[-1]).transpose(1, 2)
        norms["weight"] = product_squared_norms(a_groups, b_groups).reshape(n, groups).sum(dim=1)
    if "bias" in names:
        norms["bias"] = squared_norms(b.sum(dim=2))
    return norms


def _require_batch_axis(layer: Convolution, inputs: Tensor) -> None:
    if inputs.dim() != len(layer.kernel_size) + 2:
        raise NotModelledError(f"{type(layer).__name__} input without a batch axis, shape {tuple(inputs.shape)}")


def _patches(layer: Convolution, inputs: Tensor) -> Tensor:
    """What each position of the output map sees of inputs [n, C, *]: [n, C k, t]."""
    x = padded(layer, inputs)
    kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    if all(size == 1 for size in kernel) and all(step == 1 for step in stride):
        return x.flatten(2)
    if len(kernel) == 1:
        x, kernel, stride, dilation = x.unsqueeze(2), (1, *kernel), (1, *stride), (1, *dilation)
    if len(kernel) == 2:
        return F.unfold(x, kernel, dilation=dilation, stride=stride)
    axes = len(kernel)
    for axis, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True)):
        x = x.unfold(2 + axis, gap * (size - 1) + 1, step)[..., ::gap]
    # [n, C, *positions, *kernel] -> [n, C, *kernel, *positions]
    x = x.permute(0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))
    n, channels = x.shape[:2]
    return x.reshape(n, channels * x.shape[2 : 2 + axes].numel(), -1)


def padded(layer: Convolution, inputs: Tensor) -> Tensor:
    """The input with the layer's padding made explicit, whatever its mode; "same" pads one more at the end."""
    padding = []
    for axis in reversed(range(len(layer.kernel_size))):  # F.pad counts axes from the last
        if layer.padding == "same":
            total = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            padding += [total // 2, total - total // 2]
        elif layer.padding == "valid":
            padding += [0, 0]
        else:
            padding += [int(layer.padding[axis])] * 2
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(inputs, padding, mode=mode) if any(padding) else inputs
