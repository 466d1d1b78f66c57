"""Deep multilayer perceptrons, plain, with batch norm, with skip connections, or with both: alike in all else.

Weights of linear layers are drawn as by He et al. (arXiv 1502.01852), normal with variance 2 / fan-in, and biases are
0, so that a signal neither grows nor fades with depth in the plain network. (torch's defaults let it fade by a sixth a
layer, after which all examples look alike.)
"""

from collections import OrderedDict

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + scale * f(x): a hidden layer with a connection that skips it.

    Attributes:
        linear, norm: the layer f is relu(norm(linear(x))); norm is None without batch norm.
        scale: of f, 1 / sqrt(number of blocks), by which the variance of the signal at most grows by a factor of e over
            all blocks, however many there are; this project's choice.
    """

    def __init__(self, linear: nn.Linear, norm: nn.BatchNorm1d | None, scale: float) -> None:
        super().__init__()
        self.linear = linear
        self.norm = norm
        self.relu = nn.ReLU()
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's output [n, width] for inputs [n, width]."""
        signal = self.linear(inputs)
        if self.norm is not None:
            signal = self.norm(signal)
        outputs: Tensor = inputs + self.scale * self.relu(signal)
        return outputs


def deep_mlp(
    input_shape: tuple[int, int, int],
    num_classes: int,
    width: int,
    depth: int,
    skip: bool = False,
    batch_norm: bool = False,
) -> nn.Sequential:
    """A multilayer perceptron of `depth` hidden layers with ReLU; layers "hidden1", ..., "output".

    Without skips and batch norm it is `mlp` with `depth` hidden layers of one width, but for its initial weights.

    Args:
        input_shape: (C, H, W) of one image; its pixels are strung together.
        num_classes: number of logits.
        width: of every hidden layer.
        depth: number of hidden layers, at least 1.
        skip: whether every hidden layer but the first, which changes the width, is a `ResidualBlock`.
        batch_norm: batch norm before the ReLU of every hidden layer, whose linear map then has no bias.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    pixels = input_shape[0] * input_shape[1] * input_shape[2]
    for number in range(1, depth + 1):
        linear = _linear(pixels if number == 1 else width, width, bias=not batch_norm)
        norm = nn.BatchNorm1d(width) if batch_norm else None
        if skip and number > 1:
            layers[f"hidden{number}"] = ResidualBlock(linear, norm, (depth - 1) ** -0.5)
            continue
        layers[f"hidden{number}"] = linear
        if norm is not None:
            layers[f"bn{number}"] = norm
        layers[f"relu{number}"] = nn.ReLU()
    layers["output"] = _linear(width, num_classes)
    return nn.Sequential(layers)


def _linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer with the initial weights of He et al."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
