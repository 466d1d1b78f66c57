"""Contributions of pristine and corrupt examples: worlds, cells and sums, from gradients written out by hand."""

import numpy as np
import pytest

from mcoherence.measuring.worlds import (
    cell_names,
    cell_of,
    corrupt_cells,
    inner_with_total,
    over_updates,
    world_tags,
)

CHANGED = np.array([True, False, True, False, False, True, False, False])


def test_null_worlds_shuffle_the_tags_of_the_same_examples():
    tags = world_tags(CHANGED, 3, seed=0)
    assert tags.shape == (4, 8)
    assert np.array_equal(tags[0], CHANGED)
    assert tags.sum(axis=1).tolist() == [3, 3, 3, 3]
    assert len({tuple(world) for world in tags}) == 4


def test_a_null_world_is_the_same_however_many_there_are():
    assert np.array_equal(world_tags(CHANGED, 1, seed=5), world_tags(CHANGED, 3, seed=5)[:2])
    many = np.arange(1000) < 500
    assert not np.array_equal(world_tags(many, 1, seed=5)[1], world_tags(many, 1, seed=6)[1])


def test_cells_are_numbered_and_named_by_the_tags_of_their_examples():
    tags = np.array([[False, True, False, True], [False, False, True, True]])
    assert cell_of(tags).tolist() == [0, 1, 2, 3]
    assert cell_names(2) == ("pp", "cp", "pc", "cc")
    assert corrupt_cells(2).tolist() == [[False, True, False, True], [False, False, True, True]]


def test_every_world_follows_from_the_cells_as_from_the_gradients():
    gradients = np.random.default_rng(0).normal(size=(8, 5))
    tags = world_tags(CHANGED, 2, seed=1)
    cells = cell_of(tags)
    sums = np.stack([gradients[cells == cell].sum(axis=0) for cell in range(8)])
    gram = (sums @ sums.T)[None]
    for world, corrupt in zip(corrupt_cells(3), tags, strict=True):
        expected = gradients[corrupt].sum(axis=0) @ gradients.sum(axis=0)
        assert inner_with_total(gram, world) == pytest.approx(expected)
        assert inner_with_total(gram, ~world) + inner_with_total(gram, world) == pytest.approx(gram.sum())


def test_running_sums_are_trapezoids_over_updates():
    # (0, 2) by 1 update, mean 1; then 4 updates at a mean of 3
    assert over_updates(np.array([0, 1, 5]), np.array([0.0, 2.0, 4.0])).tolist() == [0.0, 1.0, 13.0]
