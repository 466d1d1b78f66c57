"""Small convolutional networks with group norm, which treats every example alone."""

from torch import nn

from mcoherence.errors import UserError
from mcoherence.models.blocks import convolutional_blocks


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

    def normalised(number: int, out_channels: int) -> dict[str, nn.Module]:
        if out_channels % channels_per_group:
            raise UserError(
                f"cnn_group_norm: found {out_channels} channels, expected a multiple of channels_per_group, "
                f"{channels_per_group}"
            )
        return {f"norm{number}": nn.GroupNorm(out_channels // channels_per_group, out_channels)}

    return convolutional_blocks("cnn_group_norm", input_shape, num_classes, channels, hidden, normalised, bias=False)
