"""The probe sample of a monitor: a copy of the examples that are measured again and again, and a digest of them.

Index letters: n examples of a batch, m of the sample.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mcoherence.errors import UserError
from mcoherence.gradients.given.tree_digest import TreeDigest
from mcoherence.gradients.given.trees import Tree, leaves, length, mapped, named_leaves, require_parts, rows
from mcoherence.gradients.sweep.grouping import group_ids

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
            UserError: it is something else, without examples, or inputs are NaN or infinite (minus infinity is let be:
                additive masks are made of it).
        """
        batches = tuple(_batch(batch, groups, place) for place, batch in enumerate(_batches_of(sample)))
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


def not_finite(tree: Tree) -> Tensor:
    """Which examples of a tree [n, ...] hold a number that is NaN or infinite, bool [n] on the CPU."""
    found = torch.zeros(length(tree), dtype=torch.bool)
    for leaf in leaves(tree):
        found |= (~torch.isfinite(leaf)).reshape(len(leaf), -1).any(dim=1).cpu()
    return found


def _batches_of(sample: Any) -> Sequence[Any]:
    if isinstance(sample, list) and sample and all(isinstance(batch, tuple | list) for batch in sample):
        return sample
    if isinstance(sample, tuple | list):
        return [sample]
    raise UserError(
        f"sample: found {type(sample).__name__}, {EXPECTED}; a few batches of a data loader are "
        "list(itertools.islice(loader, 4)), made before training"
    )


def _batch(batch: Any, groups: Sequence[str] | None, place: int) -> Batch:
    """A copy of a batch, checked."""
    parts = 2 if groups is None else 3
    if len(batch) != parts:
        raise UserError(f"sample: found a batch of {len(batch)} parts where groups is {groups!r}, {EXPECTED}")
    try:
        require_parts(batch, parts)
        ids = [] if groups is None else [group_ids(batch[2], length(batch[0]), groups).clone()]
    except ValueError as error:
        raise UserError(f"sample: {error}") from error
    inputs, targets = (mapped(lambda leaf: leaf.detach().clone(), part) for part in batch[:2])
    for name, leaf in named_leaves("inputs", inputs):
        if leaf.is_floating_point() and bool((wrong := ~(leaf < torch.inf)).any()):
            example = int(wrong.reshape(len(leaf), -1).any(dim=1).nonzero()[0])
            raise UserError(
                f"sample: {name}: found {float(leaf[wrong][0])} in example {example} of batch {place}, expected finite "
                "numbers; mend the example or leave it out"
            )
    return (inputs, targets, *ids)


def _digest(batches: Sequence[Batch]) -> str:
    digest = TreeDigest()
    for batch in batches:
        digest.update(batch)
    return digest.hexdigest()
