"""The 1,797 handwritten digits of the UCI repository that ship with scikit-learn, 8 x 8 pixels, 10 classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mcoherence.data.sources import Source, SourcePart


def open_source(settings: Mapping[str, Any], _data_folder: Path, _download: bool) -> Source:
    """The digits of {"train_size": int, "seed": int}: a training part of `train_size` images, a test part of the rest.

    The 17 grey levels 0..16 become uint8 by round(255 v / 16), which keeps them apart. The split is stratified by class
    and decided by `seed`.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = np.rint(bunch.images * (255.0 / 16.0)).astype(np.uint8)[:, None, :, :]
    targets = bunch.target.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(targets)), train_size=settings["train_size"], stratify=targets, random_state=settings["seed"]
    )
    return Source(
        train=SourcePart(images[train], targets[train]),
        test=SourcePart(images[test], targets[test]),
        image_shape=(1, 8, 8),
        class_names=tuple(str(name) for name in bunch.target_names),
    )
