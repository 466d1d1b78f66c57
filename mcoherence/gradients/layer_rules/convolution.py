"""Convolutions: a product over the positions of the output map, one product per group of channels.

Index letters: k positions of the kernel, g groups of channels.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mcoherence.gradients.layer_rules.kernels import kernel_gradients
from mcoherence.gradients.layer_rules.products import (
    examples_at_a_time,
    gram_squared_norms,
    prefers_product_rows,
    product_rows,
    squared_norms,
)
from mcoherence.gradients.layer_rules.registry import NotModelledError, layer_rule, trainable, weight_and_bias
from mcoherence.precision import TF32

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


def kernel_rows(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Squared norms and sums of weight's and bias's gradients, which are formed for a few examples at a time.

    A kernel of one position is a matrix, and its gradients are products of matrices. Of depthwise layers see
    `_depthwise_rows`. Others come from the convolution library's own weight gradient, with the examples of a call as
    groups of channels of one example: on a CPU that costs about what autograd's one call for the batch does, and stands
    in for it.

    Args:
        layer: Conv1d, Conv2d or Conv3d with a trainable weight.
        inputs: [n, C, *].
        output_grads: [n, p, *].
    """
    assert isinstance(layer, Convolution)
    _require_batch_axis(layer, inputs)
    names = weight_and_bias(layer)
    if (reaching := _reaching(layer, inputs.shape, output_grads.shape)) is not None:
        norms, sums = kernel_rows(reaching.layer, reaching.window(inputs), output_grads)
        total = torch.zeros_like(layer.weight, dtype=sums["weight"].dtype)
        total[:, :, *reaching.positions] = sums["weight"]
        return norms, sums | {"weight": total}
    if _is_matrix(layer):
        norm, total = product_rows(inputs.flatten(2).transpose(1, 2), output_grads.flatten(2).transpose(1, 2))
    elif (correlate := _depthwise_way(layer, inputs, output_grads.shape)) is not None:
        norm, total = _depthwise_rows(layer, inputs, output_grads, correlate)
    else:
        norm, total = _rows_by_library(layer, inputs, output_grads)
    norms, sums = {"weight": norm}, {"weight": total.reshape(layer.weight.shape)}
    if "bias" in names:  # autograd's bias gradient would take the weight's along, all over again
        bias_rows = output_grads.flatten(2).sum(dim=2)
        norms["bias"], sums["bias"] = squared_norms(bias_rows), bias_rows.sum(dim=0)
    return norms, sums


def _rows_by_library(layer: Convolution, inputs: Tensor, output_grads: Tensor) -> tuple[Tensor, Tensor]:
    x, padding = _input_and_padding(layer, inputs)
    size = _examples_per_call(layer, len(x))
    norms, total = [], x.new_zeros(layer.weight.numel())
    for inputs_of_call, grads_of_call in zip(torch.split(x, size), torch.split(output_grads, size), strict=True):
        rows = kernel_gradients(
            inputs_of_call.unsqueeze(1), grads_of_call.unsqueeze(1), layer.weight.shape, stride=layer.stride,
            padding=padding,
            dilation=layer.dilation, groups=layer.groups,
        ).flatten(1)  # fmt: skip
        norms.append(squared_norms(rows))
        total += rows.sum(dim=0) if len(rows) > 1 else rows[0]
    return torch.cat(norms), total


def _depthwise_rows(
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


def _depthwise_way(
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
    x, padding = _input_and_padding(layer, inputs, below=min(map_size))
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
        products = x[(slice(None), *_seen_from(layer, offsets, output_grads.shape[2:]))] * b
        found.append(products.flatten(1, len(axes)).sum(dim=1).flatten(1))
    return torch.stack(found, dim=2).reshape(n, -1, *layer.kernel_size)


def _runs_in_onednn(inputs: Tensor) -> bool:
    """Whether a convolution of this input runs in oneDNN: not in float64, nor where torch was built without it."""
    library: Any = torch.backends.mkldnn
    return inputs.dtype == torch.float32 and bool(library.is_available() and library.enabled)


# Elements of gradients that one call of the library forms. Seen on an AMD EPYC (torch 2.15, float32): where maps are
# small, a hundred examples a call take a fifth of the time of four; far larger blocks are no faster.
LIBRARY_ROWS_AT_A_TIME = 2**18


def _examples_per_call(layer: Convolution, n: int) -> int:
    """In calls of about the same size."""
    most = max(1, min(n, LIBRARY_ROWS_AT_A_TIME // layer.weight.numel()))
    return -(-n // -(-n // most))


def _is_matrix(layer: Convolution) -> bool:
    """Whether the layer is a linear map of channels, the same at every position."""
    no_padding = layer.padding == "valid" or not any(_padding(layer))
    ones = all(size == 1 for size in (*layer.kernel_size, *layer.stride))
    return layer.groups == 1 and ones and no_padding


def prefers_kernel_rows(layer: nn.Module, inputs: Tensor, output_shape: torch.Size) -> bool:
    """Whether forming the gradients is cheaper than the ways of `convolution`, with autograd's call beside them.

    Only on a CPU: elsewhere so many small calls cost more in launching than in work.
    """
    assert isinstance(layer, Convolution)
    if inputs.device.type != "cpu" or not layer.weight.requires_grad or set(trainable(layer)) - {"weight", "bias"}:
        return False
    if (reaching := _reaching(layer, inputs.shape, output_shape)) is not None:
        return prefers_kernel_rows(reaching.layer, reaching.window(inputs), output_shape)
    if _is_matrix(layer):
        return prefers_product_rows(inputs.device, output_shape[2:].numel(), inputs.shape[1], output_shape[1])
    if _depthwise_way(layer, inputs, output_shape) is not None:
        return True
    by_kernel = ON_PROCESSOR.element * 2.5 * layer.weight.numel()
    by_kernel += ON_PROCESSOR.call / _examples_per_call(layer, inputs.shape[0])
    return by_kernel < min(_costs(layer, inputs.shape, output_shape, ON_PROCESSOR).values())


@dataclass(frozen=True)
class Costs:
    """Costs in multiply-adds of a matrix product: of touching an element of a temporary, and of one call."""

    element: float
    call: float


# From timings on two cores of an AMD EPYC (torch 2.15, float32).
ON_PROCESSOR = Costs(30.0, 4e6)
# Worked out from the data sheet of an H100, not measured: 3.3e13 multiply-adds a second in float32, 2e14 that are
# likely to be reached in TF32, 3.35e12 bytes a second to and from memory, and five microseconds for an empty kernel.
ON_GPU = Costs(40.0, 1.6e8)
ON_GPU_WITH_TF32 = Costs(240.0, 1e9)


def costs_on(device: torch.device) -> Costs:
    """Those of the kind of device, with the precision of products that the process is set to."""
    if device.type == "cpu":
        return ON_PROCESSOR
    products: Any = torch.backends.cuda.matmul
    return ON_GPU_WITH_TF32 if products.fp32_precision == TF32 else ON_GPU


def _costs(layer: Convolution, input_shape: torch.Size, output_shape: torch.Size, costs: Costs) -> dict[str, float]:
    """Cost per example of each way to the weight's squared norms."""
    groups, kernel = layer.groups, math.prod(layer.kernel_size)
    channels, outputs = input_shape[1], output_shape[1]
    t, positions = output_shape[2:].numel(), _padded_size(layer, input_shape).numel()
    patches = costs.element * 4 * channels * kernel * t
    return {
        "shifted": positions**2 * channels
        + t**2 * outputs
        + costs.element * groups * (positions**2 + (kernel + 2) * t**2)
        + kernel * costs.call / input_shape[0],
        "gram": patches + t**2 * (channels * kernel + outputs) + costs.element * groups * 2 * t**2,
        "rows": patches + t * channels * kernel * outputs / groups + costs.element * 2 * layer.weight.numel(),
    }


def _padded_size(layer: Convolution, input_shape: torch.Size) -> torch.Size:
    """Sizes of the position axes of the input with its padding."""
    before_and_after = _padding(layer)
    axes = len(layer.kernel_size)
    return torch.Size(
        input_shape[2 + axis] + sum(before_and_after[2 * (axes - 1 - axis) :][:2]) for axis in range(axes)
    )


@layer_rule(
    nn.Conv1d, nn.Conv2d, nn.Conv3d, summing=kernel_rows, prefers_summing=prefers_kernel_rows, linear_in_parameters=True
)
def convolution(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms for inputs [n, C, *] and output_grads [n, p, *], whatever the stride, padding, mode or groups."""
    assert isinstance(layer, Convolution)
    _require_batch_axis(layer, inputs)
    names = weight_and_bias(layer)
    if (reaching := _reaching(layer, inputs.shape, output_grads.shape)) is not None:
        return convolution(reaching.layer, reaching.window(inputs), output_grads)
    norms = {}
    if "weight" in names:
        costs = _costs(layer, inputs.shape, output_grads.shape, costs_on(inputs.device))
        way = min(costs, key=lambda name: costs[name])
        norms["weight"] = weight_squared_norms(layer, inputs, output_grads, way)
    if "bias" in names:
        norms["bias"] = squared_norms(output_grads.flatten(2).sum(dim=2))
    return norms


def weight_squared_norms(layer: Convolution, inputs: Tensor, output_grads: Tensor, way: str) -> Tensor:
    """|g_i|^2 of the weight, float64 [n], in chunks of examples, by one of three exact ways.

    Args:
        layer: Conv1d, Conv2d or Conv3d.
        inputs: [n, C, *].
        output_grads: [n, p, *].
        way: "shifted" (Gram products, patches never formed), "gram" (Gram products of patches), "rows" (gradients).
    """
    groups, t = layer.groups, output_grads.shape[2:].numel()
    per_example = {
        "shifted": groups * _padded_size(layer, inputs.shape).numel() ** 2,
        "gram": math.prod(layer.kernel_size) * inputs.shape[1] * t + groups * t**2,
        "rows": math.prod(layer.kernel_size) * inputs.shape[1] * t + layer.weight.numel(),
    }[way]
    size = examples_at_a_time(inputs.device, per_example)
    chunks = zip(torch.split(inputs, size), torch.split(output_grads, size), strict=True)
    return torch.cat([_weight_squared_norms(layer, x, b, way) for x, b in chunks])


def _weight_squared_norms(layer: Convolution, inputs: Tensor, output_grads: Tensor, way: str) -> Tensor:
    n, groups = inputs.shape[0], layer.groups
    b = output_grads.reshape(n * groups, output_grads.shape[1] // groups, -1)
    if way == "shifted":
        norms = gram_squared_norms(_shifted_gram(layer, inputs, output_grads.shape[2:]), b.transpose(1, 2) @ b)
    else:
        # Channels come before kernel positions, so that the patches of a group of channels are adjacent.
        patches = _patches(layer, inputs)
        a = patches.reshape(n * groups, -1, patches.shape[-1])
        if way == "gram":
            norms = gram_squared_norms(a.transpose(1, 2) @ a, b.transpose(1, 2) @ b)
        else:
            norms = squared_norms(b @ a.transpose(1, 2))
    return norms.reshape(n, groups).sum(dim=1)


def _shifted_gram(layer: Convolution, inputs: Tensor, output_size: torch.Size) -> Tensor:
    """Inner products of the patches of any two output positions, [n g, t, t], without forming a patch.

    Patches at t and s have the product sum_k x(t + k) . x(s + k): one Gram matrix of the input over its positions,
    summed over its shifts along the diagonal by the kernel's positions.
    """
    x = padded(layer, inputs)
    size = x.shape[2:]
    x = x.reshape(x.shape[0] * layer.groups, -1, size.numel())
    gram = (x.transpose(1, 2) @ x).reshape(-1, *size, *size)
    total = gram.new_zeros(len(gram), *output_size, *output_size)
    for offsets in itertools.product(*map(range, layer.kernel_size)):
        window = _seen_from(layer, offsets, output_size)
        total += gram[(slice(None), *window, *window)]
    t = output_size.numel()
    return total.reshape(-1, t, t)


def _seen_from(layer: Convolution, offsets: tuple[int, ...], output_size: torch.Size) -> tuple[slice, ...]:
    """The positions of a padded input that a position of the kernel meets, one for each of the output map."""
    return tuple(
        slice(offset * gap, offset * gap + step * (count - 1) + 1, step)
        for offset, gap, step, count in zip(offsets, layer.dilation, layer.stride, output_size, strict=True)
    )


@dataclass(frozen=True)
class _Reaching:
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


def _reaching(layer: Convolution, input_shape: torch.Size, output_shape: torch.Size) -> _Reaching | None:
    """What is left of a convolution whose kernel reaches beyond the input at all of its positions; None of others.

    As far-reaching kernels on small maps do: 3x3 with a dilation of 36 on 33x33.
    """
    if layer.padding_mode != "zeros" or max(layer.dilation) == 1:
        return None
    before = _padding(layer)[-2::-2]
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
    return _Reaching(reaching, tuple(positions), padding)


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
    if len(kernel) == 2 and x.device.type == "cpu":  # on a GPU it starts a kernel for each example
        return F.unfold(x, kernel, dilation=dilation, stride=stride)
    axes = len(kernel)
    for axis, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True)):
        x = x.unfold(2 + axis, gap * (size - 1) + 1, step)[..., ::gap]
    # [n, C, *positions, *kernel] -> [n, C, *kernel, *positions]
    x = x.permute(0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))
    n, channels = x.shape[:2]
    return x.reshape(n, channels * x.shape[2 : 2 + axes].numel(), -1)


def padded(layer: Convolution, inputs: Tensor) -> Tensor:
    """The input with the layer's padding made explicit, whatever its mode."""
    padding = _padding(layer)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(inputs, padding, mode=mode) if any(padding) else inputs


def _input_and_padding(layer: Convolution, inputs: Tensor, below: float = math.inf) -> tuple[Tensor, list[int]]:
    """What a call of the library is given: the input, and by how much to pad each axis with zeros, less than `below`.

    Padding of another kind or size is made part of the input.
    """
    if layer.padding_mode == "zeros" and not isinstance(layer.padding, str) and max(_padding(layer)) < below:
        return inputs, [int(size) for size in layer.padding]
    return padded(layer, inputs), [0] * len(layer.kernel_size)


def _padding(layer: Convolution) -> list[int]:
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
