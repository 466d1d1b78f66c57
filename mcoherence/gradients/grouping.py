"""Examples of several groups, in whatever order they come, as batches of one group each.

One backward pass gives one sum of gradients, so that a batch is to hold one group. Parts of mixed batches wait until
there are enough of their group to fill a batch: however many groups there are, an example costs what it costs alone.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

# At most so many batches wait, beside the one in hand; then the group with most examples goes ahead, full or not.
WAITING_BATCHES = 4

Piece = tuple[Tensor, Tensor]


def batches_of_one_group(batches: Iterable[tuple[Tensor, ...]], groups: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(group, inputs [n, ...], targets [n, ...]), n no larger than the largest batch so far; empty ones are dropped.

    Args:
        batches: (inputs [n, ...], targets [n, ...], group ids int [n] in [0, groups)).
        groups: number of groups.

    Raises:
        ValueError: a group id is out of range.
    """
    waiting: dict[int, list[Piece]] = {}
    size = 0
    for inputs, targets, ids in batches:
        size = max(size, len(inputs))
        if len(ids) and not (int(ids.min()) >= 0 and int(ids.max()) < groups):
            raise ValueError(f"group_ids: found {int(ids.min())}..{int(ids.max())}, expected 0..{groups - 1}")
        for group in torch.unique(ids).tolist():
            members = ids == group
            if bool(members.all()):
                yield group, inputs, targets
                continue
            part = (inputs[members.to(inputs.device)], targets[members.to(targets.device)])
            waiting.setdefault(group, []).append(part)
            if _examples(waiting[group]) >= size:
                full, rest = _split(waiting.pop(group), size)
                waiting |= {group: [rest]} if len(rest[0]) else {}
                yield group, *full
        while sum(map(_examples, waiting.values())) > WAITING_BATCHES * size:
            group = max(waiting, key=lambda name: _examples(waiting[name]))
            yield group, *_split(waiting.pop(group), size)[0]
    for group, pieces in waiting.items():
        yield group, *_split(pieces, size)[0]


def _examples(pieces: list[Piece]) -> int:
    return sum(len(inputs) for inputs, _ in pieces)


def _split(pieces: list[Piece], size: int) -> tuple[Piece, Piece]:
    """The first `size` examples, and the rest."""
    inputs, targets = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    return (inputs[:size], targets[:size]), (inputs[size:], targets[size:])
