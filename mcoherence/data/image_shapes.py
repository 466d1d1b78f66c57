"""The shape of a data set's images, as far as its settings tell before it is there."""

from collections.abc import Mapping
from typing import Any

Shape = tuple[int, int, int]

# (C, H, W) of sources whose images have one size; the others make them as large as they are told to.
SHAPES: dict[str, Shape] = {
    "digits": (1, 8, 8),
    "mnist": (1, 28, 28),
    "fashion_mnist": (1, 28, 28),
    "kmnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "cifar100": (3, 32, 32),
}


def image_shape(settings: Mapping[str, Any]) -> Shape:
    """(C, H, W) of an image of the data set of these settings, an entry of the config's `datasets` with its defaults.

    Example:
        image_shape({"source": "folder", "size": 224})  # (3, 224, 224)
    """
    if ":" in settings["source"]:  # of a user's own
        channels, height, width = settings["shape"]
        return channels, height, width
    if settings["source"] in SHAPES:
        return SHAPES[settings["source"]]
    return 3, settings["size"], settings["size"]
