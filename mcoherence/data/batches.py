"""Batches: normalised inputs, and an order of examples that depends on seed and epoch alone."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcoherence.data.random_streams import EXAMPLE_ORDER, INITIAL_WEIGHTS, random_stream
from mcoherence.data.store import ImagePart

__all__ = ["EXAMPLE_ORDER", "INITIAL_WEIGHTS", "epoch_of_step", "normalized", "random_stream", "training_batches"]


def normalized(part: ImagePart, dtype: torch.dtype = torch.float32) -> Tensor:
    """Network inputs (pixel / 255 - mean) / std, shape [N, C, H, W]; computed in float64, then rounded to `dtype`."""
    shape = (1, -1, 1, 1)
    inputs = (part.images / 255.0 - part.mean.reshape(shape)) / part.std.reshape(shape)
    return torch.from_numpy(inputs).to(dtype)


def training_batches(size: int, batch_size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Endless batches of positions in [0, size): every epoch visits each once, in an order made of (seed, epoch).

    The last batch of an epoch is smaller where batch_size does not divide size.
    """
    epoch = 0
    while True:
        order = random_stream(seed, EXAMPLE_ORDER, epoch).permutation(size)
        for start in range(0, size, batch_size):
            yield order[start : start + batch_size]
        epoch += 1


def epoch_of_step(step: int, size: int, batch_size: int) -> float:
    """Passes over the data that `step` batches of `training_batches` make up."""
    whole, batches = divmod(step, math.ceil(size / batch_size))
    return whole + min(batches * batch_size, size) / size
