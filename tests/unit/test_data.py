"""Label corruption, the digits, batches: counts and masks by hand, orders by their laws."""

import numpy as np
import pytest
import torch

from mcoherence.data import corrupt_labels
from mcoherence.data.batches import epoch_of_step, normalized, random_stream, training_batches
from mcoherence.data.sources import load_digits
from mcoherence.data.store import ImagePart, channel_statistics, read_images, write_images
from mcoherence.errors import UserError

LABELS = np.arange(1000) % 10


@pytest.mark.parametrize("scheme", ["uniform", "permute"])
@pytest.mark.parametrize(("fraction", "count"), [(0.0, 0), (0.333, 333), (0.5, 500), (1.0, 1000)])
def test_exactly_the_asked_share_is_selected(scheme, fraction, count):
    labels, selected, changed = corrupt_labels(LABELS, 10, fraction, seed=3, scheme=scheme)
    assert selected.sum() == count
    assert np.array_equal(changed, labels != LABELS)
    assert not np.any(changed & ~selected)
    assert (labels.dtype, selected.dtype, changed.dtype) == (np.int64, np.bool_, np.bool_)


def test_uniform_redraw_keeps_about_one_in_ten_and_reaches_every_class():
    labels, selected, changed = corrupt_labels(np.zeros(20000, dtype=int), 10, 1.0, seed=0)
    counts = np.bincount(labels, minlength=10)
    # 20000 draws, p = 0.1: standard deviation 42; five of them either side
    assert np.all(np.abs(counts - 2000) < 5 * 42.4)
    assert changed.sum() == 20000 - counts[0]
    assert selected.all()


def test_permutation_among_the_selected_keeps_class_counts():
    labels, _, _ = corrupt_labels(LABELS, 10, 0.5, seed=1, scheme="permute")
    assert np.array_equal(np.bincount(labels), np.bincount(LABELS))


def test_the_seed_decides_the_corruption():
    first, again, other = (corrupt_labels(LABELS, 10, 0.5, seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_given_labels_are_not_changed():
    labels = LABELS.copy()
    corrupt_labels(labels, 10, 1.0, seed=0)
    assert np.array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fraction": 1.5}, "found fraction 1.5"),
        ({"scheme": "swap"}, "found scheme 'swap', expected one of uniform, permute"),
        ({"num_classes": 9}, r"label outside 0\.\.8"),
    ],
)
def test_wrong_corruption_settings_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        corrupt_labels(LABELS, **{"num_classes": 10, "fraction": 0.5, "seed": 0} | arguments)


def test_digits_are_the_real_ones_split_without_overlap():
    from sklearn.datasets import load_digits as sklearn_digits

    data, bunch = load_digits(train_size=720, seed=0), sklearn_digits()
    assert data.train_images.shape == (720, 1, 8, 8)
    assert data.test_images.shape == (1077, 1, 8, 8)
    together = np.concatenate([data.train_images, data.test_images])[:, 0] * (16 / 255)
    by_pixels = {image.tobytes() for image in np.rint(together)}
    assert by_pixels == {image.tobytes() for image in bunch.images}
    assert (
        np.bincount(np.concatenate([data.train_targets, data.test_targets])).tolist()
        == np.bincount(bunch.target).tolist()
    )


def test_store_round_trip_and_pixel_statistics(tmp_path):
    images = np.array([[[[0, 255], [255, 0]]], [[[51, 51], [51, 51]]]], dtype=np.uint8)
    targets = np.array([1, 0])
    path = tmp_path / "images.h5"
    write_images(path, {"train": (images, targets), "test": (images[:1], targets[:1])}, ("a", "b"), {"settings": {}})
    part = read_images(path, "train")
    assert np.array_equal(part.images, images)
    assert np.array_equal(part.targets, targets)
    # pixels / 255: two of 0, two of 1, four of 0.2: mean 0.35, variance (2 * .35^2 + 2 * .65^2 + 4 * .15^2) / 8
    assert part.mean.tolist() == pytest.approx([0.35])
    assert part.std.tolist() == pytest.approx([np.sqrt((2 * 0.35**2 + 2 * 0.65**2 + 4 * 0.15**2) / 8)])
    assert part.num_classes == 2
    assert part.input_shape == (1, 2, 2)


def test_normalised_training_pixels_have_mean_zero_and_variance_one():
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)
    mean, std = channel_statistics(images)
    inputs = normalized(ImagePart(images, np.zeros(50, dtype=np.int64), mean, std, 2), torch.float64)
    assert inputs.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0.0] * 3, abs=1e-12)
    assert inputs.std(dim=(0, 2, 3), correction=0).tolist() == pytest.approx([1.0] * 3)


def test_every_epoch_visits_every_example_once_in_an_order_of_its_own():
    batches = training_batches(size=10, batch_size=4, seed=5)
    epochs = [[next(batches) for _ in range(3)] for _ in range(2)]
    assert [len(batch) for batch in epochs[0]] == [4, 4, 2]
    orders = [np.concatenate(epoch) for epoch in epochs]
    assert [sorted(order) for order in orders] == [list(range(10))] * 2
    assert not np.array_equal(*orders)


def test_the_order_depends_on_the_seed_alone():
    first, again, other = (next(training_batches(50, 50, seed)) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_purposes_of_one_seed_do_not_share_a_stream():
    streams = {
        tuple(random_stream(0, *purpose).integers(2**32, size=4)) for purpose in ((), (0,), (1,), (1, 0), (1, 1))
    }
    assert len(streams) == 5


def test_epochs_count_examples_not_batches():
    # 10 examples in batches of 4, 4, 2
    assert [epoch_of_step(step, 10, 4) for step in range(5)] == pytest.approx([0.0, 0.4, 0.8, 1.0, 1.4])
