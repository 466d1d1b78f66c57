"""Multilayer perceptrons: layers are named as a figure shows them, weights are torch's defaults."""

from collections import OrderedDict

from torch import nn


def mlp(input_shape: tuple[int, int, int], num_classes: int, hidden: list[int]) -> nn.Sequential:
    """A multilayer perceptron with ReLU; layers "hidden1", ..., "output".

    Args:
        input_shape: (C, H, W) of one image; its pixels are strung together.
        num_classes: number of logits.
        hidden: width of each hidden layer; none makes a linear classifier.
    """
    width = input_shape[0] * input_shape[1] * input_shape[2]
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for number, next_width in enumerate(hidden, start=1):
        layers[f"hidden{number}"] = nn.Linear(width, next_width)
        layers[f"relu{number}"] = nn.ReLU()
        width = next_width
    layers["output"] = nn.Linear(width, num_classes)
    return nn.Sequential(layers)
