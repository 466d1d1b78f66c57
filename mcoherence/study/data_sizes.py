"""How large a data set is, and what its classes are called, as far as its settings tell before anything runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from mcoherence.data.image_shapes import Shape, image_shape

OPERATIONAL = True  # no number depends on it; docs/reruns.md

# Images for training, for testing, classes.
KNOWN = {
    "digits": (1_437, 360, 10),
    "mnist": (60_000, 10_000, 10),
    "fashion_mnist": (60_000, 10_000, 10),
    "kmnist": (60_000, 10_000, 10),
    "cifar10": (50_000, 10_000, 10),
    "cifar100": (50_000, 10_000, 100),
}
# The names of the classes, in their order, of sets that have few; those of glyphs are characters.
DIGITS = tuple("0123456789")
CLASS_NAMES = {
    "digits": DIGITS,
    "mnist": DIGITS,
    "fashion_mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}  # fmt: skip
# What a folder of images is taken for, before anybody has looked: ImageNet-1k.
FOLDER = (1_281_167, 50_000, 1_000)
# And a data set of a user's own: MNIST.
OWN = KNOWN["mnist"]
# Values of activations kept for a backward pass per value of the input: about what ResNet-18 keeps with either stem.
ACTIVATIONS_OF_SMALL, ACTIVATIONS_OF_LARGE, LARGE_SIDE = 800, 100, 96


@dataclass(frozen=True)
class Size:
    """Images in both parts, shape (C, H, W) of one, number of classes; `exact` is False for a guess."""

    train: int
    test: int
    shape: Shape
    classes: int
    exact: bool = True

    @property
    def pixels(self) -> int:
        """Values of one image; as many bytes in images.h5."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of the images of both parts, uint8, uncompressed."""
        return (self.train + self.test) * self.pixels

    def activation_bytes(self, batch_size: int) -> int:
        """Rough bytes that a convolutional network keeps for a float32 backward pass over a batch."""
        factor = ACTIVATIONS_OF_SMALL if max(self.shape) < LARGE_SIDE else ACTIVATIONS_OF_LARGE
        return 4 * batch_size * self.pixels * factor


def size_of(settings: Mapping[str, Any]) -> Size:
    """The size of the data set of these settings, an entry of the config's `datasets` with its defaults.

    A folder whose settings give no sizes counts as ImageNet-1k, a data set of a user's own as one as large as MNIST.
    """
    source, shape = settings["source"], image_shape(settings)
    train, test = settings.get("train_size"), settings.get("test_size")
    if source == "glyphs":
        return Size(settings["train_size"], settings["test_size"], shape, settings.get("classes", 47))
    if source == "folder" or ":" in source:
        most, rest, classes = FOLDER if source == "folder" else OWN
        return Size(train or most, test or rest, shape, classes, exact=False)
    most, rest, classes = KNOWN[source]
    if source == "digits":
        train = settings["train_size"]
        return Size(train, most + rest - train, shape, classes)
    return Size(train or most, test or rest, shape, classes)
