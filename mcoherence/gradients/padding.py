"""Batches that were filled up with examples that are none, as loaders of several shards do to have batches of one size.

Index letter: n examples of a batch.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from mcoherence.gradients.given.trees import length, rows


def without_padding(batches: Iterable[tuple[Any, ...]]) -> "Unpadded":
    """The batches (inputs, targets, ..., mask) without the examples that are padding, and without the mask.

    Examples that are left out are not counted, and have no row in `example_statistics`.

    Args:
        batches: the last part of each is a mask, bool or 0 and 1, [n]: true for an example, false for padding. Group
            ids come before it.

    Raises:
        ValueError: while it is gone through, where a mask is none.

    Example:
        >>> padded = [(torch.tensor([[1.0], [0.0]]), torch.tensor([3, 0]), torch.tensor([True, False]))]
        >>> list(without_padding(padded))
        [(tensor([[1.]]), tensor([3]))]
    """
    return Unpadded(batches)


class Unpadded:
    """What `without_padding` returns: it can be gone through as often as the batches can."""

    def __init__(self, batches: Iterable[tuple[Any, ...]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for *parts, mask in self._batches:
            yield tuple(rows(part, _chosen(mask, length(parts[0]))) for part in parts)


def _chosen(mask: Any, n: int) -> torch.Tensor:
    """The mask as bool [n] on the CPU."""
    found = torch.as_tensor(mask, device="cpu")
    if found.shape != (n,) or found.is_floating_point() or not bool(((found == 0) | (found == 1)).all()):
        raise ValueError(
            f"mask of padding: found {str(found.dtype).removeprefix('torch.')} of shape {tuple(found.shape)}, expected "
            f"{n} truth values: true for an example, false for padding"
        )
    return found.to(torch.bool)
