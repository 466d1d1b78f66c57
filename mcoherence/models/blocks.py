"""Blocks of 3x3 convolution, normalisation, ReLU and 2x2 max pooling, then one hidden layer: what small CNNs share."""

from collections import OrderedDict
from collections.abc import Callable, Mapping

from torch import nn

from mcoherence.errors import UserError


def convolutional_blocks(
    architecture: str,
    input_shape: tuple[int, int, int],
    num_classes: int,
    channels: list[int],
    hidden: int,
    normalised: Callable[[int, int], Mapping[str, nn.Module]],
    *,
    bias: bool,
) -> nn.Sequential:
    """Layers "conv1", those that normalise, "relu1", "pool1", ..., "hidden", "output", with torch's initial weights.

    Args:
        architecture: its name, for errors.
        input_shape: (C, H, W) of one image.
        num_classes: number of logits.
        channels: output channels of each block.
        hidden: width of the hidden layer.
        normalised: (number of the block, its channels) -> what follows its convolution, by name.
        bias: whether convolutions have one.

    Raises:
        UserError: more blocks than the images can be halved.
    """
    in_channels, height, width = input_shape
    if min(height, width) < 2 ** len(channels):
        raise UserError(
            f"{architecture}: found {len(channels)} blocks for images of {height}x{width}, expected at most "
            f"{min(height, width).bit_length() - 1}, because each halves the image; give fewer channels"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, out_channels in enumerate(channels, start=1):
        layers[f"conv{number}"] = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
        layers.update(normalised(number, out_channels))
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        in_channels, height, width = out_channels, height // 2, width // 2
    layers["flatten"] = nn.Flatten()
    layers["hidden"] = nn.Linear(in_channels * height * width, hidden)
    layers["relu_hidden"] = nn.ReLU()
    layers["output"] = nn.Linear(hidden, num_classes)
    return nn.Sequential(layers)
