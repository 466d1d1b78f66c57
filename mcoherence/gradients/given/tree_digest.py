"""The digest of examples in trees of tensors, by which one sample is told from another.

Index letter: n examples of a batch.
"""

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mcoherence.gradients.given.trees import Tree, named_leaves


class TreeDigest:
    """SHA-256 of batches of one form, in their order: of type, shape, numbers and place of every tensor [n, ...].

    Each tensor is hashed together with those in its place in the other batches, so it does not matter how the examples
    are cut into batches. Entries of a mapping are told by their keys, so their order does not matter, and two that
    change places make another digest.

        digest = TreeDigest()
        for batch in batches:
            digest.update(batch)
        digest.hexdigest()
    """

    def __init__(self) -> None:
        self._digests: dict[str, Any] = {}
        self._described: dict[str, str] = {}

    def update(self, batch: Tree) -> None:
        """Take in one batch: a tree of strided tensors, whatever their device, type or strides."""
        found = dict(named_leaves("", batch))
        for place in {**self._digests, **found}:  # in a fixed order, those that this batch lacks among them
            digest, leaf = self._digests.setdefault(place, hashlib.sha256()), found.get(place)
            now = "none" if leaf is None else f"{leaf.dtype} {tuple(leaf.shape[1:])}"
            if now != self._described.get(place):
                digest.update(now.encode())
                self._described[place] = now
            if leaf is not None:
                digest.update(_bytes(leaf))

    def hexdigest(self) -> str:
        """The digest of all batches so far, 64 hexadecimal digits."""
        whole = sorted((place, digest.hexdigest()) for place, digest in self._digests.items())
        return hashlib.sha256(repr(whole).encode()).hexdigest()


def _bytes(leaf: Tensor) -> bytes:
    plain = leaf.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return np.ascontiguousarray(plain.reshape(-1).view(torch.uint8).numpy()).tobytes() if plain.numel() else b""
