"""What the positions of a kernel see of the input of a convolution: padding, windows, and positions that see none."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mcoherence.gradients.layer_rules.registry import trainable

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


def padded_size(layer: Convolution, input_shape: torch.Size) -> torch.Size:
    """Sizes of the position axes of the input with its padding."""
    before_and_after = padding_of(layer)
    axes = len(layer.kernel_size)
    return torch.Size(
        input_shape[2 + axis] + sum(before_and_after[2 * (axes - 1 - axis) :][:2]) for axis in range(axes)
    )


def seen_from(layer: Convolution, offsets: tuple[int, ...], output_size: torch.Size) -> tuple[slice, ...]:
    """The positions of a padded input that a position of the kernel meets, one for each of the output map."""
    return tuple(
        slice(offset * gap, offset * gap + step * (count - 1) + 1, step)
        for offset, gap, step, count in zip(offsets, layer.dilation, layer.stride, output_size, strict=True)
    )


@dataclass(frozen=True)
class Reaching:
    """A convolution without the positions of its kernel that see nothing but padding, whose gradient is 0.

    layer: with these alone, and no padding.
    positions: of the whole kernel, a slice for each axis.
    padding: of the input, as F.pad takes it; less than none where the input is cut.
    """

    layer: Convolution
    positions: tuple[slice, ...]
    padding: list[int]

    def window(self, inputs: Tensor) -> Tensor:
        """The part of the input that these positions see, padded."""
        return F.pad(inputs, self.padding)


def reaching_part(layer: Convolution, input_shape: torch.Size, output_shape: torch.Size) -> Reaching | None:
    """What is left of a convolution whose kernel reaches beyond the input at all of its positions; None of others.

    As far-reaching kernels on small maps do: 3x3 with a dilation of 36 on 33x33.
    """
    if layer.padding_mode != "zeros" or max(layer.dilation) == 1:
        return None
    before = padding_of(layer)[-2::-2]
    positions: list[slice] = []
    padding: list[int] = []
    for size, count, kernel, step, gap, pad in zip(
        input_shape[2:], output_shape[2:], layer.kernel_size, layer.stride, layer.dilation, before, strict=True
    ):
        last = (count - 1) * step - pad  # where the kernel's first position is at the last of the output's
        seen = [k for k in range(kernel) if last + k * gap >= 0 and k * gap - pad < size]
        if not seen:
            return None
        first, end = seen[0], seen[-1] + 1
        positions.append(slice(first, end))
        padding = [pad - first * gap, last + (end - 1) * gap + 1 - size, *padding]
    kernel_size = tuple(one.stop - one.start for one in positions)
    if kernel_size == tuple(layer.kernel_size):
        return None
    kind: Any = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[len(kernel_size)]
    reaching: Convolution = kind(
        layer.in_channels, layer.out_channels, kernel_size, stride=layer.stride, dilation=layer.dilation,
        groups=layer.groups, bias=layer.bias is not None, device="meta",
    )  # fmt: skip
    for name, p in reaching.named_parameters():
        p.requires_grad_(name in trainable(layer))
    return Reaching(reaching, tuple(positions), padding)


def padded(layer: Convolution, inputs: Tensor) -> Tensor:
    """The input with the layer's padding made explicit, whatever its mode."""
    padding = padding_of(layer)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(inputs, padding, mode=mode) if any(padding) else inputs


def input_and_padding(layer: Convolution, inputs: Tensor, below: float = math.inf) -> tuple[Tensor, list[int]]:
    """What a call of the library is given: the input, and by how much to pad each axis with zeros, less than `below`.

    Padding of another kind or size is made part of the input.
    """
    if layer.padding_mode == "zeros" and not isinstance(layer.padding, str) and max(padding_of(layer)) < below:
        return inputs, [int(size) for size in layer.padding]
    return padded(layer, inputs), [0] * len(layer.kernel_size)


def padding_of(layer: Convolution) -> list[int]:
    """Positions padded before and after each axis, from the last axis to the first; "same" pads one more after."""
    padding = []
    for axis in reversed(range(len(layer.kernel_size))):
        if layer.padding == "same":
            total = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            padding += [total // 2, total - total // 2]
        elif layer.padding == "valid":
            padding += [0, 0]
        else:
            padding += [int(layer.padding[axis])] * 2
    return padding
