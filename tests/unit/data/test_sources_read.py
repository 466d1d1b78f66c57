"""The digits, pixel statistics, batches: values by hand, orders by their laws."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from mcoherence.data.batches import draws_from, epoch_of_step
from mcoherence.data.preparation import ChannelSums, prepare_images
from mcoherence.data.random_streams import random_stream
from mcoherence.data.sources import Source, SourcePart, open_source
from mcoherence.data.store import read_class_names, read_images, read_targets
from mcoherence.errors import UserError


def test_digits_are_the_real_ones_split_without_overlap():
    from sklearn.datasets import load_digits as sklearn_digits

    settings = {"source": "digits", "train_size": 720, "seed": 0}
    data, bunch = open_source(settings, Path("nowhere"), download=False), sklearn_digits()
    assert data.train.items.shape == (720, *data.image_shape) == (720, 1, 8, 8)
    assert data.test.items.shape == (1077, 1, 8, 8)
    together = np.concatenate([data.train.items, data.test.items])[:, 0] * (16 / 255)
    by_pixels = {image.tobytes() for image in np.rint(together)}
    assert by_pixels == {image.tobytes() for image in bunch.images}
    assert (
        np.bincount(np.concatenate([data.train.targets, data.test.targets])).tolist()
        == np.bincount(bunch.target).tolist()
    )


def test_store_round_trip_and_pixel_statistics(tmp_path):
    images = np.array([[[[0, 255], [255, 0]]], [[[51, 51], [51, 51]]]], dtype=np.uint8)
    targets = np.array([1, 0])
    path = tmp_path / "images.h5"
    source = Source(SourcePart(images, targets), SourcePart(images[:1], targets[:1]), (1, 2, 2), ("a", "b"))
    prepare_images(path, source, {"settings": {}})
    with h5py.File(path) as file:
        assert np.array_equal(file["train/images"], images)
        mean, std = file.attrs["mean"], file.attrs["std"]
    assert read_targets(path, "train").tolist() == [1, 0]
    # pixels / 255: two of 0, two of 1, four of 0.2: mean 0.35, variance (2 * .35^2 + 2 * .65^2 + 4 * .15^2) / 8
    assert mean.tolist() == pytest.approx([0.35])
    assert std.tolist() == pytest.approx([np.sqrt((2 * 0.35**2 + 2 * 0.65**2 + 4 * 0.15**2) / 8)])
    assert read_targets(path, "test").tolist() == [1]
    part = read_images(path, "train")
    assert np.array_equal(part.images, images)
    assert (part.targets.tolist(), part.num_classes, part.input_shape) == ([1, 0], 2, (1, 2, 2))
    assert (part.mean.tolist(), part.std.tolist()) == (mean.tolist(), std.tolist())
    with pytest.raises(UserError, match=r"found part 'val' asked for, expected train or test"):
        read_images(path, "val")
    assert read_class_names(path) == ("a", "b")


def test_normalised_training_pixels_have_mean_zero_and_variance_one():
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)
    sums = ChannelSums(3)
    sums.add(images)
    mean, std = sums.mean_and_std()
    inputs = (images / 255 - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)
    assert inputs.mean(axis=(0, 2, 3)).tolist() == pytest.approx([0.0] * 3, abs=1e-12)
    assert inputs.std(axis=(0, 2, 3)).tolist() == pytest.approx([1.0] * 3)


def test_every_epoch_visits_every_example_once_in_an_order_of_its_own():
    draws = draws_from(0, size=10, batch_size=4, seed=5)
    epochs = [[next(draws)[1] for _ in range(3)] for _ in range(2)]
    assert [len(batch) for batch in epochs[0]] == [4, 4, 2]
    orders = [np.concatenate(epoch) for epoch in epochs]
    assert [sorted(order) for order in orders] == [list(range(10))] * 2
    assert not np.array_equal(*orders)


def test_the_order_depends_on_the_seed_alone():
    (_, first), (_, again), (_, other) = (next(draws_from(0, 50, 50, seed)) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_draws_go_on_where_they_left_off():
    begun = list(zip(range(25), draws_from(0, 20, 6, seed=3), strict=False))
    for first in (0, 1, 3, 4, 9, 20):
        again = draws_from(first, 20, 6, seed=3)
        for (_, expected), found in zip(begun[first:], again, strict=False):
            assert found[0] == expected[0]
            assert np.array_equal(found[1], expected[1])
    epoch = np.concatenate([positions for _, (_, positions) in begun[4:8]])
    assert sorted(epoch) == list(range(20))
    assert not np.array_equal(epoch, np.concatenate([positions for _, (_, positions) in begun[:4]]))


def test_purposes_of_one_seed_do_not_share_a_stream():
    streams = {
        tuple(random_stream(0, *purpose).integers(2**32, size=4)) for purpose in ((), (0,), (1,), (1, 0), (1, 1))
    }
    assert len(streams) == 5


def test_epochs_count_examples_not_batches():
    # 10 examples in batches of 4, 4, 2
    assert [epoch_of_step(step, 10, 4) for step in range(5)] == pytest.approx([0.0, 0.4, 0.8, 1.0, 1.4])
