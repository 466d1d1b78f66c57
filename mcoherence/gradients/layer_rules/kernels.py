"""The gradients of a convolution's kernel, one for each example, by the convolution library.

Index letters: n examples, k maps of an example, C channels of the input, p of the output, g groups of channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def kernel_gradients(
    inputs: Tensor,
    output_grads: Tensor,
    shape: Sequence[int],
    *,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    transposed: bool = False,
    output_padding: Sequence[int] | None = None,
) -> Tensor:
    """Gradients [n, *shape] by the kernel: the library's own, with the examples as groups of channels of k maps.

    On a CPU that costs about what autograd's one call for the batch does.

    Args:
        inputs: [n, k, C, *].
        output_grads: [n, k, p, *].
        shape: of the kernel, [p, C / g, *], or transposed [C, p / g, *].
        stride: and the others, as torch's convolutions have them.
        padding: with zeros.
        dilation: gaps between the positions of the kernel.
        groups: g.
        transposed: whether it is a transposed convolution.
        output_padding: of a transposed one.
    """
    n = len(inputs)
    _, found, _ = torch.ops.aten.convolution_backward(
        output_grads.transpose(0, 1).flatten(1, 2).contiguous(),
        inputs.transpose(0, 1).flatten(1, 2).contiguous(),
        inputs.new_empty((n * shape[0], *shape[1:])), None, stride, padding, dilation, transposed,
        [0] * len(stride) if output_padding is None else output_padding, groups * n, (False, True, False),
    )  # fmt: skip
    rows: Tensor = found.reshape(n, *shape)
    return rows
