"""The order of the examples in training, which depends on seed and epoch alone."""

import math
from collections.abc import Iterator
from itertools import count

import numpy as np
from numpy.typing import NDArray

from mcoherence.data.arguments import whole_number
from mcoherence.data.random_streams import EXAMPLE_ORDER, random_stream
from mcoherence.errors import UserError


def require_batch(batch_size: int, size: int, key: str = "batch_size") -> None:
    """Refuse mini-batches larger than all examples: they would be smaller than every record of them says.

    Args:
        batch_size: examples of a mini-batch.
        size: all examples.
        key: of the config, where batch_size stands.

    Raises:
        UserError: batch_size is larger than size.
    """
    if batch_size > size:
        raise UserError(
            f"{key}: found {batch_size}, expected at most the {size} examples that are trained on; lower it"
        )


def draws_from(first: int, size: int, batch_size: int, seed: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """(number of the draw, positions in [0, size) of its mini-batch), endless, from draw `first` on.

    Every epoch visits each example once, in an order made of (seed, epoch); its last mini-batch is smaller where
    batch_size does not divide size.

    Raises:
        UserError: there are no examples, or none in a mini-batch.
    """
    whole_number("number of examples", size, least=1)
    whole_number("batch_size", batch_size, least=1)
    per_epoch = math.ceil(size / batch_size)
    for epoch in count(first // per_epoch):
        order = random_stream(seed, EXAMPLE_ORDER, epoch).permutation(size)
        for within in range(first - epoch * per_epoch if epoch == first // per_epoch else 0, per_epoch):
            yield epoch * per_epoch + within, order[within * batch_size : (within + 1) * batch_size]


def size_of_draw(draw: int, size: int, batch_size: int) -> int:
    """Number of examples in the mini-batch of a draw."""
    return min(batch_size, size - draw % math.ceil(size / batch_size) * batch_size)


def epoch_of_step(step: int, size: int, batch_size: int) -> float:
    """Passes over the data that the first `step` draws make up."""
    whole, batches = divmod(step, math.ceil(size / batch_size))
    return whole + min(batches * batch_size, size) / size
