"""Norms and losses of single examples, gathered batch by batch and put in order.

Index letters: n examples, L layers.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcoherence.gradients.layer_names import layer_of, layers_of
from mcoherence.gradients.passes import BatchSums
from mcoherence.gradients.sweep import Piece


@dataclass(frozen=True)
class OrderedExamples:
    """Examples in the order of the batches: layers [L], sq_norms [n, L], losses [n], group_ids [n]."""

    layers: tuple[str, ...]
    sq_norms: NDArray[np.float64]
    losses: NDArray[np.float64]
    group_ids: NDArray[np.int64]


class ExampleRows:
    """Norms and losses of single examples, batch by batch."""

    def __init__(self, parameters: tuple[str, ...]) -> None:
        self._layers = layers_of(parameters)
        self._members = {layer: [name for name in parameters if layer_of(name) == layer] for layer in self._layers}
        self._positions: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._groups: list[int] = []

    def add(self, piece: Piece, measured: BatchSums) -> None:
        """Add a batch of one group."""
        device = measured.losses.device
        zero = torch.zeros(measured.n, dtype=torch.float64, device=device)
        norms = measured.squared_norms
        by_layer = [
            sum((norms[name].to(device) for name in members if name in norms), start=zero)
            for members in self._members.values()
        ]
        self._positions.append(piece.positions)
        self._norms.append(torch.stack(by_layer, dim=1).cpu())
        self._losses.append(measured.losses.to(torch.float64).cpu())
        self._groups += [piece.group] * measured.n

    def in_order(self) -> OrderedExamples:
        """All of them."""
        order = torch.cat(self._positions).argsort()
        return OrderedExamples(
            self._layers,
            torch.cat(self._norms)[order].numpy(),
            torch.cat(self._losses)[order].numpy(),
            np.asarray(self._groups, dtype=np.int64)[order.numpy()],
        )
