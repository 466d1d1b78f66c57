"""Small convolutional networks: layers are named as a figure shows them, weights are torch's defaults."""

from collections import OrderedDict

from torch import nn

from mcoherence.errors import UserError


def cnn(
    input_shape: tuple[int, int, int], num_classes: int, channels: list[int], hidden: int, batch_norm: bool = True
) -> nn.Sequential:
    """Blocks of 3x3 convolution, batch norm, ReLU and 2x2 max pooling, then one hidden layer.

    Layers "conv1", "bn1", ..., "hidden", "output". A convolution that batch norm follows has no bias.

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: number of logits.
        channels: output channels of each block.
        hidden: width of the hidden layer.
        batch_norm: batch norm after each convolution.

    Raises:
        UserError: more blocks than the images can be halved.
    """
    in_channels, height, width = input_shape
    if min(height, width) < 2 ** len(channels):
        raise UserError(
            f"cnn: found {len(channels)} blocks for images of {height}x{width}, expected at most "
            f"{min(height, width).bit_length() - 1}, because each halves the image; give fewer channels"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, out_channels in enumerate(channels, start=1):
        layers[f"conv{number}"] = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=not batch_norm)
        if batch_norm:
            layers[f"bn{number}"] = nn.BatchNorm2d(out_channels)
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        in_channels, height, width = out_channels, height // 2, width // 2
    layers["flatten"] = nn.Flatten()
    layers["hidden"] = nn.Linear(in_channels * height * width, hidden)
    layers["relu_hidden"] = nn.ReLU()
    layers["output"] = nn.Linear(hidden, num_classes)
    return nn.Sequential(layers)
