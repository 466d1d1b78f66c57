"""Examples of several groups, in whatever order they come, as batches of one group each.

One backward pass gives one sum of gradients, so that a batch is to hold one group. Parts of mixed batches wait until
there are enough of their group to fill a batch: however many groups there are, an example costs what it costs alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcoherence.gradients.given.trees import Tree, concatenated, joinable, length, rows

# At most so many batches wait, beside the one in hand; then the group with most examples goes ahead, full or not.
WAITING_BATCHES = 4

Part = tuple[Tree, Tree]
GroupIds = Tensor | NDArray[np.integer | np.bool_] | Sequence[int]


def group_ids(ids: GroupIds, examples: int, groups: Sequence[str]) -> Tensor:
    """The groups of the examples of a batch, int64 [n] on the CPU; a mask counts as 0 where False and 1 where True.

    Args:
        ids: integers or booleans [n]: a tensor, an array or a sequence of numbers.
        examples: their number, n.
        groups: names of the groups, which the integers count from 0.

    Raises:
        ValueError: they are of another type or length, or name a group that is not there.
    """
    expected = f"expected {examples} integers from 0 to {len(groups) - 1}, one for each example"
    if isinstance(ids, np.ndarray):
        ids = ids.astype(ids.dtype.newbyteorder("="), copy=False)  # torch knows no other order of bytes
    try:
        found = torch.as_tensor(ids, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"group_ids: found {type(ids).__name__} that is no row of numbers, {expected}") from None
    if found.is_floating_point() or found.is_complex():
        if not found.numel() and not isinstance(ids, Tensor | np.ndarray):  # an empty list is of no type
            found = found.long()
        else:
            kind = str(found.dtype).removeprefix("torch.")
            raise ValueError(f"group_ids: found numbers of type {kind}, {expected}; convert them with .long()")
    if found.shape != (examples,):
        raise ValueError(f"group_ids: found shape {tuple(found.shape)} for {examples} examples, {expected}")
    found = found.to(torch.int64)
    if examples and not (int(found.min()) >= 0 and int(found.max()) < len(groups)):
        outside = [i for i in (int(found.min()), int(found.max())) if not 0 <= i < len(groups)]
        raise ValueError(
            f"group_ids: found {outside[0]}, expected 0..{len(groups) - 1}, the positions of groups={list(groups)}"
        )
    return found


def batches_of_one_group(
    batches: Iterable[tuple[Tree, Tree, GroupIds]], groups: Sequence[str]
) -> Iterator[tuple[int, Tree, Tree]]:
    """(group, inputs [n, ...], targets [n, ...]), n no larger than the largest batch so far; empty ones are dropped.

    Examples of different shapes, such as sentences padded batch by batch, never come in one batch, nor do those of
    tensors that are not `joinable`.

    Args:
        batches: (inputs [n, ...], targets [n, ...], group ids [n]), the first two tensors or trees of them.
        groups: names of the groups, which the ids count from 0.

    Raises:
        ValueError: group ids are not one for each example, or of no group.
    """
    waiting: dict[tuple[int, Any], list[Part]] = {}
    size = 0
    for inputs, targets, given in batches:
        size = max(size, length(inputs))
        ids = group_ids(given, length(inputs), groups)
        for group in torch.unique(ids).tolist():
            members = ids == group
            if bool(members.all()):
                yield group, inputs, targets
                continue
            part = (rows(inputs, members), rows(targets, members))
            alike = joinable(part)
            if alike is None:
                yield group, *part
                continue
            kind = (group, alike)
            waiting.setdefault(kind, []).append(part)
            if _examples(waiting[kind]) >= size:
                full, rest = _split(waiting.pop(kind), size)
                waiting |= {kind: [rest]} if length(rest[0]) else {}
                yield group, *full
        while sum(map(_examples, waiting.values())) > WAITING_BATCHES * size:
            kind = max(waiting, key=lambda name: _examples(waiting[name]))
            yield kind[0], *_split(waiting.pop(kind), size)[0]
    for (group, _), parts in waiting.items():
        yield group, *_split(parts, size)[0]


def _examples(parts: list[Part]) -> int:
    return sum(length(inputs) for inputs, _ in parts)


def _split(parts: list[Part], size: int) -> tuple[Part, Part]:
    """The first `size` examples, and the rest."""
    inputs, targets = (concatenated(trees) for trees in zip(*parts, strict=True))
    first, rest = slice(None, size), slice(size, None)
    return (rows(inputs, first), rows(targets, first)), (rows(inputs, rest), rows(targets, rest))
