"""nn.Conv2d: a convolution is a product over the positions of its output map, one product per group of channels."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mcoherence.gradients.layer_rules import NotModelledError, layer_rule, trainable
from mcoherence.gradients.layer_rules.products import product_squared_norms, squared_norms


@layer_rule(nn.Conv2d)
def conv2d(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms for inputs [n, C, H, W] and output_grads [n, p, H', W'], whatever the stride, padding or mode."""
    assert isinstance(layer, nn.Conv2d)
    if inputs.dim() != 4:
        raise NotModelledError(f"Conv2d input without a batch axis, shape {tuple(inputs.shape)}")
    n, groups = inputs.shape[0], layer.groups
    b = output_grads.flatten(2)
    norms = {}
    for name in trainable(layer):
        if name == "weight":
            # Unfolded: [n, C * kernel, t], the kernel positions of one channel adjacent, hence groups contiguous.
            patches = F.unfold(_padded(layer, inputs), layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
            a_groups = patches.reshape(n * groups, -1, patches.shape[-1]).transpose(1, 2)
            b_groups = b.reshape(n * groups, -1, b.shape[-1]).transpose(1, 2)
            norms[name] = product_squared_norms(a_groups, b_groups).reshape(n, groups).sum(dim=1)
        else:
            norms[name] = squared_norms(b.sum(dim=2))
    return norms


def _padded(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """The input with the layer's padding made explicit, whatever its mode; "same" pads the extra pixel at the end."""
    if layer.padding == "same":
        padding = []
        for size, dilation in reversed(list(zip(layer.kernel_size, layer.dilation, strict=True))):
            total = dilation * (size - 1)
            padding += [total // 2, total - total // 2]
    elif layer.padding == "valid":
        padding = [0, 0, 0, 0]
    else:
        height, width = (int(size) for size in layer.padding)
        padding = [width, width, height, height]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(inputs, padding, mode=mode) if any(padding) else inputs
