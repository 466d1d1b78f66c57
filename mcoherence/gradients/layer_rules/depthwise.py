"""Convolutions whose kernels see one channel each: the gradients of the examples by such a kernel."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mcoherence.gradients.layer_rules.kernel_positions import Convolution, input_and_padding, padded, seen_from
from mcoherence.gradients.layer_rules.products import examples_at_a_time, squared_norms


def depthwise_rows(
    layer: Convolution, inputs: Tensor, output_grads: Tensor, correlate: Callable[[Convolution, Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Squared norms and sum of the weight's gradients of a layer whose kernels see one channel each.

    The gradient at position k of a kernel is sum_t x(stride t + dilation k) b(t): a convolution of the channel with b,
    whose stride and dilation are the layer's dilation and stride.
    """
    per_example = inputs[0].numel() + output_grads[0].numel() + layer.weight.numel()
    size = examples_at_a_time(inputs.device, per_example)
    norms, total = [], inputs.new_zeros(layer.weight.shape)
    for x, b in zip(torch.split(inputs, size), torch.split(output_grads, size), strict=True):
        rows = correlate(layer, x, b)
        norms.append(squared_norms(rows))
        total += rows.sum(dim=0).reshape(total.shape)
    return torch.cat(norms), total


def depthwise_way(
    layer: Convolution, inputs: Tensor, output_shape: torch.Size
) -> Callable[[Convolution, Tensor, Tensor], Tensor] | None:
    """How to form the weight's gradients of a depthwise layer; None where the library's weight gradient is as fast.

    Seen on an AMD EPYC (torch 2.15), as parts of the time of the library's weight gradient:

    - A convolution of oneDNN takes a half to a twentieth for kernels of 5x5, 7x7 and 3x3x3 on maps up to 224x224, as
      long for 3x3, and longer for kernels of one axis, a dilation of 3, and three axes with a stride.
    - Without oneDNN a product for each position of the kernel takes a tenth to a half for maps of 2x2 to 8x8, as long
      for larger ones, and many times as long for many outputs of one channel.
    """
    if layer.groups != layer.in_channels:
        return None
    positions = output_shape[2:].numel()
    if positions == 1:
        return _scaled
    if not _runs_in_onednn(inputs):
        return _correlated_by_position if layer.groups > 1 and positions <= SMALL_MAP else None
    axes = len(layer.kernel_size)
    is_slow = axes == 1 or max(layer.dilation) > 2 or (axes == 3 and max(layer.stride) > 1)
    return _correlated if not is_slow and layer.weight[0, 0].numel() > SMALL_KERNEL else None


SMALL_KERNEL = 9  # positions of a kernel, 3x3
SMALL_MAP = 64  # positions of an output map, 8x8


def _scaled(layer: Convolution, inputs: Tensor, output_grads: Tensor) -> Tensor:
    """As `_correlated`, of a map of one position: the patch that it sees, times its output gradient."""
    n, channels, *_ = inputs.shape
    patch = padded(layer, inputs)
    for axis, (size, gap) in enumerate(zip(layer.kernel_size, layer.dilation, strict=True), start=2):
        patch = patch[(slice(None),) * axis + (slice(0, gap * (size - 1) + 1, gap),)]
    b = output_grads.reshape(n, channels, -1, *[1] * len(layer.kernel_size))
    return (patch.unsqueeze(2) * b).reshape(n, -1, *layer.kernel_size)


def _correlated(layer: Convolution, inputs: Tensor, output_grads: Tensor) -> Tensor:
    """The weight's gradients of a depthwise layer, [n, p, *kernel], by one convolution of the library."""
    n, map_size = len(inputs), output_grads.shape[2:]
    # The library's fast code wants less padding than the kernel is long, which here is the output map.
    x, padding = input_and_padding(layer, inputs, below=min(map_size))
    found = torch.convolution(
        x.reshape(1, -1, *x.shape[2:]).contiguous(), output_grads.reshape(-1, 1, *map_size).contiguous(), None,
        layer.dilation, padding, layer.stride, False, [0] * len(padding), n * inputs.shape[1],
    )  # fmt: skip
    # Input positions that no kernel reaches give more than the kernel's positions.
    for axis, size in enumerate(layer.kernel_size, start=2):
        found = found.narrow(axis, 0, size)
    return found.reshape(n, -1, *layer.kernel_size)


def _correlated_by_position(layer: Convolution, inputs: Tensor, output_grads: Tensor) -> Tensor:
    """As `_correlated`, by one product for each position of the kernel."""
    n, channels = inputs.shape[:2]
    axes = tuple(range(2, inputs.dim()))
    x = padded(layer, inputs).permute(0, *axes, 1).unsqueeze(-1).contiguous()
    b = output_grads.reshape(n, channels, -1, *output_grads.shape[2:])
    b = b.permute(0, *(axis + 1 for axis in axes), 1, 2).contiguous()
    found = []
    for offsets in itertools.product(*map(range, layer.kernel_size)):
        products = x[(slice(None), *seen_from(layer, offsets, output_grads.shape[2:]))] * b
        found.append(products.flatten(1, len(axes)).sum(dim=1).flatten(1))
    return torch.stack(found, dim=2).reshape(n, -1, *layer.kernel_size)


def _runs_in_onednn(inputs: Tensor) -> bool:
    """Whether a convolution of this input runs in oneDNN: not in float64, nor where torch was built without it."""
    library: Any = torch.backends.mkldnn
    return inputs.dtype == torch.float32 and bool(library.is_available() and library.enabled)
