"""The layers of a model, told by the names of its parameters.

Index letters: P parameters, L layers.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def layer_of(parameter: str) -> str:
    """The qualified name of the module that owns a parameter: "conv1" for "conv1.weight", "" for the model itself."""
    return parameter.rpartition(".")[0]


def layers_of(parameters: Sequence[str]) -> tuple[str, ...]:
    """Names of the L modules that own the parameters, each once, in the order of the parameters."""
    return tuple(dict.fromkeys(map(layer_of, parameters)))


def layer_indices(parameters: Sequence[str]) -> NDArray[np.int64]:
    """Position in `layers_of(parameters)` of each parameter's layer, int64 [P]."""
    position = {layer: index for index, layer in enumerate(layers_of(parameters))}
    return np.array([position[layer_of(parameter)] for parameter in parameters], dtype=np.int64)


def by_layer(values: NDArray[np.float64], parameters: Sequence[str]) -> NDArray[np.float64]:
    """Values per parameter, float64 [..., P], summed over the parameters of each layer, float64 [..., L].

    NaN where a value of the layer is not finite; the other layers keep their sums.
    """
    member = np.eye(len(layers_of(parameters)))[layer_indices(parameters)]  # [P, L], 1 where a parameter is in a layer
    finite = np.isfinite(values)
    sums = np.where(finite, values, 0.0) @ member
    return np.asarray(np.where(~finite @ member > 0, np.nan, sums))
