"""The probe sample of a monitor: a copy of the examples that are measured again and again, and a digest of them.

Index letters: n examples of a batch, m of the sample.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mcoherence.errors import UserError
from mcoherence.gradients.grouping import group_ids
from mcoherence.gradients.trees import length, mapped, rows

Batch = tuple[Any, ...]
EXPECTED = "expected one batch (inputs, targets) or a list of them, with `groups` (inputs, targets, group_ids)"


@dataclass(frozen=True)
class ProbeSample:
    """A fixed sample.

    batches: (inputs [n, ...], targets [n, ...]), or with groups (inputs, targets, group ids int64 [n]); copies, so that
        nobody changes them. Inputs and targets are tensors, or tuples, lists and dicts of them.
    size: m.
    digest: SHA-256 of all examples in their order, 64 hexadecimal digits, however they are cut into batches.
    """

    batches: tuple[Batch, ...]
    size: int
    digest: str

    @classmethod
    def of(cls, sample: Any, groups: Sequence[str] | None) -> "ProbeSample":
        """The sample that a user hands over.

        Args:
            sample: one batch or a list of batches. A list counts as one batch unless tuples or lists are all that is in
                it: data loaders make a batch a list of tensors.
            groups: names of the groups that group ids count from 0; None: there are none.

        Raises:
            UserError: it is something else, or without examples.
        """
        batches = tuple(_batch(batch, groups) for batch in _batches_of(sample))
        size = sum(length(batch[0]) for batch in batches)
        if not size:
            raise UserError(f"sample: found no examples, {EXPECTED}")
        return cls(batches, size, _digest(batches))

    def share(self, rank: int, world: int) -> Iterator[Batch]:
        """The batches of this rank's part of the sample: parts differ by one example at most, and may be empty."""
        start, stop = (self.size * part // world for part in (rank, rank + 1))
        before = 0
        for batch in self.batches:
            n = length(batch[0])
            chosen = slice(max(start - before, 0), max(stop - before, 0))
            if chosen.start < min(chosen.stop, n):
                yield batch if chosen.start == 0 and chosen.stop >= n else tuple(rows(part, chosen) for part in batch)
            before += n


def _batches_of(sample: Any) -> Sequence[Any]:
    if isinstance(sample, list) and sample and all(isinstance(batch, tuple | list) for batch in sample):
        return sample
    if isinstance(sample, tuple | list):
        return [sample]
    raise UserError(
        f"sample: found {type(sample).__name__}, {EXPECTED}; a few batches of a data loader are "
        "list(itertools.islice(loader, 4)), made before training"
    )


def _batch(batch: Any, groups: Sequence[str] | None) -> Batch:
    """A copy of a batch, checked."""
    parts = 2 if groups is None else 3
    if len(batch) != parts:
        raise UserError(f"sample: found a batch of {len(batch)} parts where groups is {groups!r}, {EXPECTED}")
    copied = tuple(mapped(lambda leaf: leaf.detach().clone(), part) for part in batch[:2])
    lengths = {len(leaf) for leaf in _leaves(copied) if leaf.dim()}
    if len(lengths) != 1 or not all(leaf.dim() for leaf in _leaves(copied)):
        shapes = [list(leaf.shape) for leaf in _leaves(copied)]
        raise UserError(
            f"sample: found a batch of tensors of shapes {shapes}, expected [n, ...] of each, one n for all"
        )
    if groups is None:
        return copied
    try:
        return (*copied, group_ids(batch[2], lengths.pop(), groups).clone())
    except ValueError as error:
        raise UserError(f"sample: {error}") from error


def _leaves(tree: Any) -> list[Tensor]:
    """The tensors of a tensor, tuple, list or dict, in their order; UserError for anything else in it."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        tree = tuple(tree.values())
    if isinstance(tree, tuple | list):
        return [leaf for part in tree for leaf in _leaves(part)]
    if tree is None:
        return []
    raise UserError(f"sample: found {type(tree).__name__} in a batch, expected tensors [n, ...]; convert it")


def _keys(tree: Any) -> Any:
    """The form of a tree without its tensors."""
    if isinstance(tree, Mapping):
        return {str(key): _keys(value) for key, value in tree.items()}
    return [_keys(part) for part in tree] if isinstance(tree, tuple | list) else type(tree).__name__


def _digest(batches: Sequence[Batch]) -> str:
    """Each tensor of a batch is hashed together with those in its place in the other batches."""
    of_places = []
    for column in zip_longest(*(_leaves(batch) for batch in batches)):
        digest, described = hashlib.sha256(), ""
        for leaf in column:
            now = "none" if leaf is None else f"{leaf.dtype} {tuple(leaf.shape[1:])}"
            if now != described:
                digest.update(now.encode())
                described = now
            if leaf is not None:
                digest.update(_bytes(leaf))
        of_places.append(digest.hexdigest())
    return hashlib.sha256(repr((_keys(batches[0]), of_places)).encode()).hexdigest()


def _bytes(leaf: Tensor) -> bytes:
    plain = leaf.cpu().resolve_conj().resolve_neg().contiguous()
    return np.ascontiguousarray(plain.reshape(-1).view(torch.uint8).numpy()).tobytes() if plain.numel() else b""
