"""A folder of class folders, the layout of ImageNet: train/CLASS/*.jpg and val/CLASS/*.jpg.

Every image is decoded once, without augmentation, as the papers did: to RGB, its shorter side resized, the centre cut
out. In contrast to torchvision's ImageFolder an orientation in the EXIF data is applied, as image viewers do.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcoherence.data.sources import Decoded, Source, SourcePart
from mcoherence.data.stratified import stratified_positions
from mcoherence.errors import UserError

FOLDERS = {"train": "train", "test": "val"}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class ImageFile(NamedTuple):
    """One image, by its path; size in bytes and time of change in ns tell whether it is still the same file."""

    path: str
    size: int
    modified: int


def open_source(settings: Mapping[str, Any], data_folder: Path, _download: bool) -> Source:
    """The folder {"root", "size", "resize", "train_size", "test_size", "seed"}; a relative root is below data_folder.

    Files without an image's suffix and hidden files are passed over. Images come in the order of class and path.

    Raises:
        UserError: a folder is missing or holds no images, the classes of train and val differ, or a size is wrong.
    """
    root = data_folder / settings["root"]
    classes = _classes(root)
    parts: dict[str, SourcePart] = {}
    for part, folder in FOLDERS.items():
        files, targets = _images(root / folder, classes)
        chosen = stratified_positions(targets, settings[f"{part}_size"], settings["seed"], f"{root}: {part}_size")
        decode = partial(decode_files, resize=settings["resize"], size=settings["size"])
        parts[part] = SourcePart([files[position] for position in chosen], targets[chosen], decode)
    shape = (3, settings["size"], settings["size"])
    return Source(**parts, image_shape=shape, class_names=classes, attributes={"reader": f"pillow {version('pillow')}"})


def _classes(root: Path) -> tuple[str, ...]:
    """Names of the class folders, sorted; they must be the same in train and val."""
    found: dict[str, set[str]] = {}
    for name in FOLDERS.values():
        folder = root / name
        if not folder.is_dir():
            raise UserError(f"{folder}: not found; expected a folder with one folder of images per class; set root")
        with os.scandir(folder) as entries:
            found[name] = {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
    for name, other in (("train", "val"), ("val", "train")):
        missing = sorted(found[name] - found[other])
        if missing:
            raise UserError(
                f"{root}: found {len(missing)} classes in {name} that {other} lacks ({', '.join(missing[:5])}), "
                "expected the same class folders in both"
            )
    if not found["train"]:
        raise UserError(f"{root / 'train'}: found no class folder, expected one folder of images per class")
    return tuple(sorted(found["train"]))


def _images(folder: Path, classes: Sequence[str]) -> tuple[list[ImageFile], NDArray[np.int64]]:
    """The image files of every class folder and its subfolders, and their classes."""
    files: list[ImageFile] = []
    counts: list[int] = []
    for name in classes:
        of_class = sorted(_files_below(folder / name))
        if not of_class:
            raise UserError(f"{folder / name}: found no image, expected files named {', '.join(IMAGE_SUFFIXES)}")
        files += of_class
        counts.append(len(of_class))
    return files, np.repeat(np.arange(len(classes), dtype=np.int64), counts)


def _files_below(folder: Path) -> list[ImageFile]:
    found: list[ImageFile] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                found += _files_below(Path(entry.path))
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                status = entry.stat()
                found.append(ImageFile(entry.path, status.st_size, status.st_mtime_ns))
    return found


def decode_files(files: Sequence[ImageFile], resize: int, size: int) -> Decoded:
    """The images uint8 [n, 3, size, size] of n files, and a line about each file that does not decode."""
    images = np.zeros((len(files), 3, size, size), dtype=np.uint8)
    complaints: list[str] = []
    for position, file in enumerate(files):
        try:
            images[position] = decode_image(file.path, resize, size)
        except Exception as error:  # Pillow's readers raise many kinds; whatever it is, the image does not decode
            reason = " ".join(str(error).split()) or type(error).__name__
            complaints.append(f"{file.path} ({reason})")
    return images, complaints


def decode_image(path: str, resize: int, size: int) -> NDArray[np.uint8]:
    """One image as RGB uint8 [3, size, size]: shorter side resized to `resize` (bilinear, antialiased), centre cropped.

    Equal, pixel by pixel, to torchvision's Resize(resize) and CenterCrop(size) of a Pillow image.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):  # Pillow would clip 16 bits to 8 instead of scaling them
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image = image.convert("RGBA" if "transparency" in image.info else "RGB").convert("RGB")
    width, height = image.size
    short = min(width, height)
    if short != resize:
        image = image.resize((int(resize * width / short), int(resize * height / short)), Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2.0) for side in image.size)
    cropped = image.crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(cropped).transpose(2, 0, 1))
