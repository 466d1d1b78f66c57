"""Gradients of single examples of the weights of linear layers, as the two factors that their outer product is made of.

A linear layer that sees an example once, as one row, has the gradient d a^T there: a is what goes in, d the gradient of
what comes out. Both come from a pass that makes no outer product: a is noted, and d is the gradient of a tap, a zero
that is added to what comes out.
"""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from mcoherence.parameter_names import names_by_module


class NotFactoredError(Exception):
    """Weights were used in another way than by one linear layer on one row; `weights` are their keys."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()
        self.weights = weights


class Taps(TorchFunctionMode):
    """While it is active, every call of a linear layer whose weight is watched gets its tap; inputs are noted.

    Args:
        weights: those watched, by a key.
        taps: of the same keys, zeros as wide as the layer's output.
    """

    def __init__(self, weights: Mapping[int, Tensor], taps: Mapping[int, Tensor]) -> None:
        super().__init__()
        self._weights, self._taps = weights, taps
        self._keys = {id(weight): key for key, weight in weights.items()}
        self._inputs: dict[int, Tensor] = {}
        self._used_otherwise: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func`, as torch asks of a mode."""
        result = func(*args, **(kwargs or {}))
        used = {self._keys[id(leaf)] for leaf in tree_leaves((args, kwargs)) if id(leaf) in self._keys}
        for key in used:
            alone = func is F.linear and len(args) > 1 and args[1] is self._weights[key] and len(used) == 1
            if not alone or key in self._inputs or args[0].numel() != args[1].shape[1]:
                self._used_otherwise.add(key)
                continue
            # What autocast makes of the input is what the gradient is made of.
            self._inputs[key] = args[0].reshape(-1).to(result.dtype).to(args[1].dtype)
            result = result + self._taps[key].to(result.dtype).view_as(result)
        return result

    def inputs(self) -> dict[int, Tensor]:
        """What went into the layer of each weight, [K].

        Raises:
            NotFactoredError: weights that were used otherwise, or not seen to be used.
        """
        bad = self._used_otherwise | (self._weights.keys() - self._inputs.keys())
        if bad:
            raise NotFactoredError(bad)
        return self._inputs


def linear_weights(model: nn.Module, parameters: list[Tensor]) -> list[int]:
    """Positions, in `parameters`, of weights that one linear layer of the model holds, and nothing else."""
    places = names_by_module(model)
    linear = (layer.weight for layer in model.modules() if type(layer) is nn.Linear)
    weights = {id(weight) for weight in linear if weight.dim() == 2}
    return [i for i, p in enumerate(parameters) if id(p) in weights and len(places[id(p)]) == 1]
