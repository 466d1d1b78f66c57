"""Norms and losses of single examples, gathered batch by batch and put in order.

Index letters: n examples, L layers.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcoherence.gradients.batch.passes import BatchSums
from mcoherence.gradients.given.layer_names import layer_of, layers_of
from mcoherence.gradients.given.pieces import Piece


@dataclass(frozen=True)
class OrderedExamples:
    """Examples in the order of the batches: layers [L], sq_norms [n, L], losses [n], group_ids [n]."""

    layers: tuple[str, ...]
    sq_norms: NDArray[np.float64]
    losses: NDArray[np.float64]
    group_ids: NDArray[np.int64]


MOST_WAITING_BYTES = 2**26  # of numbers of examples on a GPU before they are copied to the processor


class ExampleRows:
    """Norms and losses of single examples, batch by batch."""

    def __init__(self, parameters: tuple[str, ...]) -> None:
        self._layers = layers_of(parameters)
        self._members = {layer: [name for name in parameters if layer_of(name) == layer] for layer in self._layers}
        self._positions: list[Tensor] = []
        self._measured: list[Tensor] = []  # [n, L + 1] on the processor: norms by layer, and the loss
        self._waiting: list[Tensor] = []  # the same on a GPU, where a copy would wait for it
        self._groups: list[int] = []

    def add(self, piece: Piece, measured: BatchSums) -> None:
        """Add a batch of one group."""
        device = measured.losses.device
        zero = torch.zeros(measured.n, dtype=torch.float64, device=device)
        norms = measured.squared_norms
        columns = [
            sum((norms[name].to(device) for name in members if name in norms), start=zero)
            for members in self._members.values()
        ]
        self._positions.append(piece.positions)
        self._waiting.append(torch.stack([*columns, measured.losses.to(torch.float64)], dim=1))
        self._groups += [piece.group] * measured.n
        if device.type == "cpu" or sum(one.nbytes for one in self._waiting) > MOST_WAITING_BYTES:
            self._fetch()

    def in_order(self) -> OrderedExamples:
        """All of them."""
        self._fetch()
        order = torch.cat(self._positions).argsort()
        measured = torch.cat(self._measured)[order].numpy()
        return OrderedExamples(
            self._layers,
            np.ascontiguousarray(measured[:, :-1]),
            np.ascontiguousarray(measured[:, -1]),
            np.asarray(self._groups, dtype=np.int64)[order.numpy()],
        )

    def _fetch(self) -> None:
        if self._waiting:
            self._measured.append(torch.cat(self._waiting).cpu())
            self._waiting = []
