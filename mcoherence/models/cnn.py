"""Small convolutional networks: layers are named as a figure shows them, weights are torch's defaults."""

from torch import nn

from mcoherence.models.blocks import convolutional_blocks


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

    def normalised(number: int, out_channels: int) -> dict[str, nn.Module]:
        return {f"bn{number}": nn.BatchNorm2d(out_channels)} if batch_norm else {}

    return convolutional_blocks("cnn", input_shape, num_classes, channels, hidden, normalised, bias=not batch_norm)
