"""Convolutions: a product over the positions of the output map, one product per group of channels.

Index letters: k positions of the kernel, g groups of channels.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mcoherence.gradients.layer_rules.depthwise import depthwise_rows, depthwise_way
from mcoherence.gradients.layer_rules.kernel_positions import (
    Convolution,
    input_and_padding,
    padded,
    padded_size,
    padding_of,
    reaching_part,
    seen_from,
)
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


def kernel_rows(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Squared norms and sums of weight's and bias's gradients, which are formed for a few examples at a time.

    A kernel of one position is a matrix, and its gradients are products of matrices. Of depthwise layers see
    `depthwise_rows`. Others come from the convolution library's own weight gradient, with the examples of a call as
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
    if (reaching := reaching_part(layer, inputs.shape, output_grads.shape)) is not None:
        norms, sums = kernel_rows(reaching.layer, reaching.window(inputs), output_grads)
        total = torch.zeros_like(layer.weight, dtype=sums["weight"].dtype)
        total[:, :, *reaching.positions] = sums["weight"]
        return norms, sums | {"weight": total}
    if _is_matrix(layer):
        norm, total = product_rows(inputs.flatten(2).transpose(1, 2), output_grads.flatten(2).transpose(1, 2))
    elif (correlate := depthwise_way(layer, inputs, output_grads.shape)) is not None:
        norm, total = depthwise_rows(layer, inputs, output_grads, correlate)
    else:
        norm, total = _rows_by_library(layer, inputs, output_grads)
    norms, sums = {"weight": norm}, {"weight": total.reshape(layer.weight.shape)}
    if "bias" in names:  # autograd's bias gradient would take the weight's along, all over again
        bias_rows = output_grads.flatten(2).sum(dim=2)
        norms["bias"], sums["bias"] = squared_norms(bias_rows), bias_rows.sum(dim=0)
    return norms, sums


def _rows_by_library(layer: Convolution, inputs: Tensor, output_grads: Tensor) -> tuple[Tensor, Tensor]:
    x, padding = input_and_padding(layer, inputs)
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


# Elements of gradients that one call of the library forms. Seen on an AMD EPYC (torch 2.15, float32): where maps are
# small, a hundred examples a call take a fifth of the time of four; far larger blocks are no faster.
LIBRARY_ROWS_AT_A_TIME = 2**18


def _examples_per_call(layer: Convolution, n: int) -> int:
    """In calls of about the same size."""
    most = max(1, min(n, LIBRARY_ROWS_AT_A_TIME // layer.weight.numel()))
    return -(-n // -(-n // most))


def _is_matrix(layer: Convolution) -> bool:
    """Whether the layer is a linear map of channels, the same at every position."""
    no_padding = layer.padding == "valid" or not any(padding_of(layer))
    ones = all(size == 1 for size in (*layer.kernel_size, *layer.stride))
    return layer.groups == 1 and ones and no_padding


def prefers_kernel_rows(layer: nn.Module, inputs: Tensor, output_shape: torch.Size) -> bool:
    """Whether forming the gradients is cheaper than the ways of `convolution`, with autograd's call beside them.

    Only on a CPU: elsewhere so many small calls cost more in launching than in work.
    """
    assert isinstance(layer, Convolution)
    if inputs.device.type != "cpu" or not layer.weight.requires_grad or set(trainable(layer)) - {"weight", "bias"}:
        return False
    if inputs.dim() != len(layer.kernel_size) + 2:  # of one example, whose channels are as many as examples
        return False
    if (reaching := reaching_part(layer, inputs.shape, output_shape)) is not None:
        return prefers_kernel_rows(reaching.layer, reaching.window(inputs), output_shape)
    if _is_matrix(layer):
        return prefers_product_rows(inputs.device, output_shape[2:].numel(), inputs.shape[1], output_shape[1])
    if depthwise_way(layer, inputs, output_shape) is not None:
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
    t, positions = output_shape[2:].numel(), padded_size(layer, input_shape).numel()
    patches = costs.element * 4 * channels * kernel * t
    return {
        "shifted": positions**2 * channels
        + t**2 * outputs
        + costs.element * groups * (positions**2 + (kernel + 2) * t**2)
        + kernel * costs.call / input_shape[0],
        "gram": patches + t**2 * (channels * kernel + outputs) + costs.element * groups * 2 * t**2,
        "rows": patches + t * channels * kernel * outputs / groups + costs.element * 2 * layer.weight.numel(),
    }


@layer_rule(
    nn.Conv1d, nn.Conv2d, nn.Conv3d, summing=kernel_rows, prefers_summing=prefers_kernel_rows, linear_in_parameters=True
)
def convolution(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms for inputs [n, C, *] and output_grads [n, p, *], whatever the stride, padding, mode or groups."""
    assert isinstance(layer, Convolution)
    _require_batch_axis(layer, inputs)
    names = weight_and_bias(layer)
    if (reaching := reaching_part(layer, inputs.shape, output_grads.shape)) is not None:
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
        "shifted": groups * padded_size(layer, inputs.shape).numel() ** 2,
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
        window = seen_from(layer, offsets, output_size)
        total += gram[(slice(None), *window, *window)]
    t = output_size.numel()
    return total.reshape(-1, t, t)


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
