"""A data set of a user's own: what its function may return, and what is refused in one line."""

import sys

import numpy as np
import pytest
import torch

from mcoherence.data.preparation import prepare_images
from mcoherence.data.sources import open_source
from mcoherence.data.store import read_class_names, read_images
from mcoherence.errors import UserError

IMAGES = np.arange(4 * 3 * 2 * 2, dtype=np.uint8).reshape(4, 3, 2, 2)
TARGETS = [0, 1, 0, 1]
SETTINGS = {"source": "own_data_of_test:data", "shape": [3, 2, 2]}


@pytest.fixture
def returned(tmp_path, monkeypatch):
    """Lets the user's function return something."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_data_of_test.py").write_text("def data(**options):\n    return RETURNED\n")
    import own_data_of_test

    yield lambda value: setattr(own_data_of_test, "RETURNED", value)
    sys.modules.pop("own_data_of_test")


def opened(tmp_path, **settings):
    return open_source(SETTINGS | settings, tmp_path, download=False)


def test_arrays_become_the_store(returned, tmp_path):
    returned((IMAGES, TARGETS, torch.from_numpy(IMAGES[:2]), np.array([1, 0]), ["left", "right"]))
    prepare_images(tmp_path / "images.h5", opened(tmp_path), {})
    stored = read_images(tmp_path / "images.h5", "train")
    assert np.array_equal(stored.images, IMAGES)
    assert stored.targets.tolist() == TARGETS
    assert read_images(tmp_path / "images.h5", "test").targets.tolist() == [1, 0]
    assert read_class_names(tmp_path / "images.h5") == ("left", "right")


def test_a_part_of_them_has_its_share_of_each_class(returned, tmp_path):
    returned((IMAGES, TARGETS, IMAGES, TARGETS))
    data = opened(tmp_path, train_size=2)
    assert sorted(data.train.targets) == [0, 1]
    assert data.class_names == ("0", "1")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (IMAGES, "found it to return a ndarray, expected (train_images, train_targets, test_images, test_targets)"),
        ((IMAGES, TARGETS), "found it to return a tuple of 2, expected"),
        (
            (IMAGES / 255, TARGETS, IMAGES, TARGETS),
            "train_images: found an array of float64 [4, 3, 2, 2], expected uint8",
        ),
        (
            (IMAGES, TARGETS, IMAGES[:, 0], TARGETS),
            "test_images: found an array of uint8 [4, 2, 2], expected uint8 [N, 3",
        ),
        ((IMAGES, TARGETS[:3], IMAGES, TARGETS), "found 4 train_images and 3 train_targets, expected as many"),
        (
            (IMAGES, TARGETS, IMAGES[:0], []),
            "found 0 test_images and 0 test_targets, expected as many of both and at least 1; let the function",
        ),
        (
            (IMAGES, [-1, 0, 1, 0], IMAGES, TARGETS),
            "train_targets: found label -1, expected whole numbers from 0 on; let the classes be 0, 1, 2, ..., and",
        ),
        ((IMAGES, np.eye(4), IMAGES, TARGETS), "train_targets: found labels of shape [4, 4], expected [N]"),
        ((IMAGES, TARGETS, IMAGES, TARGETS, ["one"]), "found 1 class names"),
    ],
)
def test_what_is_no_data_set_is_refused(returned, tmp_path, value, message):
    returned(value)
    with pytest.raises(UserError) as error:
        opened(tmp_path)
    assert str(error.value).startswith("own_data_of_test:data: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
