"""Image sources by name: where the pixels and targets of a data set come from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageData:
    """Images uint8 [N, C, H, W] and targets int64 [N] of the training and the test part, and the class names."""

    train_images: NDArray[np.uint8]
    train_targets: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_targets: NDArray[np.int64]
    class_names: tuple[str, ...]


def load_source(settings: dict[str, Any]) -> ImageData:
    """The data set that `settings` names: {"source": "digits", "train_size": int, "seed": int}."""
    loaders = {"digits": load_digits}
    return loaders[settings["source"]](train_size=settings["train_size"], seed=settings["seed"])


def load_digits(train_size: int, seed: int) -> ImageData:
    """The 1,797 handwritten digits of the UCI repository that ship with scikit-learn, 8 x 8 pixels, 10 classes.

    The 17 grey levels 0..16 become uint8 by round(255 v / 16), which keeps them apart. The split into a training part
    of `train_size` images and a test part of the rest is stratified by class and decided by `seed`.
    """
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.model_selection import train_test_split

    bunch = sklearn_digits()
    images = np.rint(bunch.images * (255.0 / 16.0)).astype(np.uint8)[:, None, :, :]
    targets = bunch.target.astype(np.int64)
    train, test = train_test_split(np.arange(len(targets)), train_size=train_size, stratify=targets, random_state=seed)
    names = tuple(str(name) for name in bunch.target_names)
    return ImageData(images[train], targets[train], images[test], targets[test], names)
