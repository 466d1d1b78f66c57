"""What the updates of a run see: the examples of each, in their order, shared out over groups and ranks."""

from collections.abc import Generator, Iterator
from functools import cache
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from mcoherence.data.batches import draws_from, epoch_of_step, require_batch, size_of_draw
from mcoherence.data.loading import Draw, LabelledExamples
from mcoherence.errors import UserError
from mcoherence.optim.descent import Part
from mcoherence.training.ranks import Ranks
from mcoherence.training.settings import WEIGHTS, Execution, TrainingSettings


def check_sizes(settings: TrainingSettings, size: int, ranks: Ranks) -> None:
    """Check that mini-batches have the size that is recorded, and examples for each group and rank of several ranks.

    Raises:
        UserError: a mini-batch is larger than all `size` examples, or the last one of an epoch is too small.
    """
    require_batch(settings.batch_size, size, "training.batch_size")
    last, least = size % settings.batch_size or settings.batch_size, settings.groups * ranks.world
    if ranks.world > 1 and last < least:
        raise UserError(
            f"training.batch_size: found {settings.batch_size}, which leaves a last mini-batch of {last} out of {size} "
            f"examples, expected at least {least}, one for each of {ranks.world} ranks and {settings.groups} groups; "
            "choose another size, or fewer ranks"
        )


def parts_of_updates(
    settings: TrainingSettings, examples: LabelledExamples, execution: Execution, first: int
) -> Generator[list[Part], None, None]:
    """For every update from `first` to the segment's end its parts, (inputs [n, C, H, W], labels [n]) each.

    A part is a group of a mini-batch, or a whole one; on several ranks this rank's share of it.
    """
    dtype, layout = WEIGHTS[settings.precision], execution.layout
    parts: list[Part] = []
    for draw, (inputs, labels) in enumerate(
        examples.batches(schedule_of(settings, len(examples), execution.ranks, first)), first * settings.mini_batches
    ):
        inputs = inputs.to(dtype=dtype, memory_format=layout)
        if settings.groups == 1:
            parts.append((inputs, labels))
        else:
            size = size_of_draw(draw, len(examples), settings.batch_size)
            sizes = sizes_of_shares(size, settings.groups, execution.ranks)
            parts += zip(torch.split(inputs, sizes), torch.split(labels, sizes), strict=True)
        if len(parts) == settings.mini_batches * settings.groups:
            yield parts
            parts = []


def schedule_of(settings: TrainingSettings, size: int, ranks: Ranks, first: int) -> Iterator[Draw]:
    """(number, positions [n]) of every mini-batch from update `first` to the segment's end: this rank's, by group."""
    draws = draws_from(first * settings.mini_batches, size, settings.batch_size, settings.seed)
    for draw, positions in islice(draws, (settings.stop - first) * settings.mini_batches):
        yield draw, np.concatenate(shares_of_groups(positions, settings.groups, ranks))


def shares_of_groups(positions: NDArray[np.int64], groups: int, ranks: Ranks) -> list[NDArray[np.int64]]:
    """This rank's share of each group of a mini-batch; groups differ by one example at most, and so do ranks."""
    return [ranks.share(group) for group in (np.array_split(positions, groups) if groups > 1 else [positions])]


@cache
def sizes_of_shares(size: int, groups: int, ranks: Ranks) -> list[int]:
    """The sizes of this rank's shares of the groups of a mini-batch of so many examples."""
    return [len(share) for share in shares_of_groups(np.arange(size), groups, ranks)]


def epoch_of_update(settings: TrainingSettings, updates: int, size: int) -> float:
    """Passes over the `size` examples that the first `updates` updates make up."""
    return epoch_of_step(updates * settings.mini_batches, size, settings.batch_size)
