"""How much pristine and corrupt examples contribute to the gradient, beside null worlds in which the tags are shuffled.

The sums of a world's two groups follow from those of smaller cells: examples that carry the same tag in every world.
So one pass over the sample serves all worlds.

Index letters: W worlds (the first one the measured world), C = 2^W cells, K checkpoints, m examples of the sample.
"""

import numpy as np
from numpy.typing import NDArray

from mcoherence.data.random_streams import NULL_WORLDS, random_stream


def world_tags(changed: NDArray[np.bool_], null_worlds: int, seed: int) -> NDArray[np.bool_]:
    """Who is called corrupt in each world, bool [W, m]: `changed` itself, then `null_worlds` shuffles of it.

    Every world has as many corrupt examples as the measured one (arXiv 2002.10657, the null worlds).

    Args:
        changed: mask of the sample's examples whose label was changed, bool [m].
        null_worlds: number of shuffles.
        seed: decides them; a world is the same however many there are.
    """
    shuffles = [random_stream(seed, NULL_WORLDS, world).permutation(changed) for world in range(null_worlds)]
    return np.stack([changed, *shuffles])


def cell_of(tags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The cell of each example, int64 [m] in [0, C): bit w is its tag in world w; tags bool [W, m]."""
    return np.asarray((tags.astype(np.int64) << np.arange(len(tags))[:, None]).sum(axis=0))


def cell_names(worlds: int) -> tuple[str, ...]:
    """The names of the C cells in order: the tags in the worlds, the first world first, "p" or "c" each."""
    return tuple("".join("pc"[cell >> world & 1] for world in range(worlds)) for cell in range(2**worlds))


def corrupt_cells(worlds: int) -> NDArray[np.bool_]:
    """Which cells make up the corrupt group of each world, bool [W, C]; the others make up its pristine group."""
    return np.asarray((np.arange(2**worlds) >> np.arange(worlds)[:, None] & 1).astype(np.bool_))


def inner_with_total(gram: NDArray[np.float64], members: NDArray[np.bool_]) -> NDArray[np.float64]:
    """S_a . S for a group a of cells, float64 [K].

    Args:
        gram: inner products of the cells' gradient sums, float64 [K, C, C].
        members: the cells of the group, bool [C].
    """
    return np.asarray(gram[:, members].sum(axis=(1, 2)))


def over_updates(step: NDArray[np.int64], rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """The integral of a rate over the updates from the first checkpoint on, by trapezoids; float64 [K].

    Args:
        step: ascending numbers of updates, int64 [K].
        rate: what each update adds, measured at the checkpoints, float64 [K].
    """
    pieces = np.diff(step) * (rate[1:] + rate[:-1]) / 2
    return np.concatenate([[0.0], np.cumsum(pieces)])
