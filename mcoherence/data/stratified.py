"""A part of a data set in which every class keeps its share."""

import numpy as np
from numpy.typing import NDArray

from mcoherence.data.arguments import class_labels, whole_number
from mcoherence.data.random_streams import STRATIFIED_PART, random_stream
from mcoherence.errors import UserError


def stratified_positions(targets: NDArray[np.int64], size: int | None, seed: int, key: str) -> NDArray[np.int64]:
    """Ascending positions int64 of `size` examples, stratified by class and decided by `seed`; all where it is None.

    Args:
        targets: classes, int64 [N].
        size: how many of the N examples.
        seed: of the choice.
        key: the config key that `size` comes from, for the message.

    Raises:
        UserError: there are fewer than `size` examples, `size` is too small for one of each class, or the targets are
            no classes.
    """
    targets = class_labels(key, targets)
    if size is None or size == len(targets):
        return np.arange(len(targets), dtype=np.int64)
    size = whole_number(key, size, least=1)
    classes = len(np.unique(targets))
    if not classes <= size < len(targets):
        raise UserError(f"{key}: found {size}, expected {classes} (one per class) to {len(targets)} (all there are)")
    # Shares of the classes, rounded so that they add up to `size`: the largest remainders are rounded up.
    counts = np.bincount(targets)
    exact = counts * (size / len(targets))
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: size - quota.sum()]] += 1
    generator = random_stream(seed, STRATIFIED_PART)
    chosen = [
        generator.choice(np.flatnonzero(targets == label), size=count, replace=False)
        for label, count in enumerate(quota)
    ]
    return np.sort(np.concatenate(chosen))
