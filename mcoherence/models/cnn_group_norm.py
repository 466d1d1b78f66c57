"""Small convolutional networks with group norm, which treats every example alone."""

from collections import OrderedDict

from torch import nn

from mcoherence.errors import UserError


def cnn_group_norm(
    input_shape: tuple[int, int, int], num_classes: int, channels: list[int], hidden: int, channels_per_group: int = 4
) -> nn.Sequential:
    """Blocks of 3x3 convolution, group norm, ReLU and 2x2 max pooling, then one hidden layer.

    `cnn` with group norm (Wu and He, arXiv 1803.08494) in place of batch norm: gradients of single examples are defined
    with it. Layers "conv1", "norm1", ..., "hidden", "output"; torch's initial weights.

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: number of logits.
        channels: output channels of each block, multiples of channels_per_group.
        hidden: width of the hidden layer.
        channels_per_group: that are normalised together.

    Raises:
        UserError: more blocks than the images can be halved, or channels that groups do not divide.
    """
    in_channels, height, width = input_shape
    if min(height, width) < 2 ** len(channels):
        raise UserError(
            f"cnn_group_norm: found {len(channels)} blocks for images of {height}x{width}, expected at most "
            f"{min(height, width).bit_length() - 1}, because each halves the image; give fewer channels"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, out_channels in enumerate(channels, start=1):
        if out_channels % channels_per_group:
            raise UserError(
                f"cnn_group_norm: found {out_channels} channels, expected a multiple of channels_per_group, "
                f"{channels_per_group}"
            )
        layers[f"conv{number}"] = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        layers[f"norm{number}"] = nn.GroupNorm(out_channels // channels_per_group, out_channels)
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        in_channels, height, width = out_channels, height // 2, width // 2
    layers["flatten"] = nn.Flatten()
    layers["hidden"] = nn.Linear(in_channels * height * width, hidden)
    layers["relu_hidden"] = nn.ReLU()
    layers["output"] = nn.Linear(hidden, num_classes)
    return nn.Sequential(layers)
