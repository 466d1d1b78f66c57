"""A folder of class folders, the layout of ImageNet: train/CLASS/*.jpg and val/CLASS/*.jpg.

Every image is decoded once, without augmentation, as the papers did: to RGB, its shorter side resized, the centre cut
out. What becomes of each kind of pixel is said in `pixels`.
"""

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcoherence.data.pixels import LARGEST, open_rgb
from mcoherence.data.sources import Decoded, Source, SourcePart
from mcoherence.data.stratified import stratified_positions
from mcoherence.errors import UserError, printable

FOLDERS = {"train": "train", "test": "val"}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class ImageFile(NamedTuple):
    """One image, by its path; size in bytes and time of change in ns tell whether it is still the same file."""

    path: str
    size: int
    modified: int


class Found(NamedTuple):
    """What lies in a folder of images: its images, and a line about each entry that cannot be read as one."""

    images: list[ImageFile]
    complaints: list[str]


def open_source(settings: Mapping[str, Any], data_folder: Path, _download: bool) -> Source:
    """The folder {"root", "size", "resize", "train_size", "test_size", "seed"}; a relative root is below data_folder.

    Files without an image's suffix and hidden files are passed over. Images come in the order of class and path.

    Raises:
        UserError: a folder is missing, holds no images or what cannot be read as one, such as a dangling link; the
            classes of train and val differ; or a size is wrong.
    """
    root = data_folder / settings["root"]
    classes = _classes(root)
    parts: dict[str, SourcePart] = {}
    for part, folder in FOLDERS.items():
        files, targets = images_of_classes(root / folder, classes)
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
        found[name] = set(class_folders(folder))
    for name, other in (("train", "val"), ("val", "train")):
        missing = sorted(found[name] - found[other])
        if missing:
            names = printable(", ".join(missing[:5]))
            raise UserError(
                f"{root}: found {len(missing)} classes in {name} that {other} lacks ({names}), "
                "expected the same class folders in both"
            )
    if not found["train"]:
        raise UserError(f"{root / 'train'}: found no class folder, expected one folder of images per class")
    return tuple(sorted(found["train"]))


def class_folders(folder: Path) -> list[str]:
    """Names of the class folders of one part.

    Raises:
        UserError: a link leads nowhere, or a name is no UTF-8, in which images.h5 keeps the names of classes.
    """
    names = []
    for entry in _entries(folder):
        kind = _kind(entry)
        if kind in (DANGLING, ENDLESS):
            raise UserError(f"{printable(entry.path)}: found {kind} in the place of a class; remove it")
        if kind != FOLDER:
            continue
        try:
            entry.name.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{printable(entry.path)}: found a class folder whose name is not UTF-8, expected UTF-8; rename it"
            ) from error
        names.append(entry.name)
    return names


def images_of_classes(folder: Path, classes: Sequence[str]) -> tuple[list[ImageFile], NDArray[np.int64]]:
    """The image files of every class folder and its subfolders, and their classes."""
    found = [_found_below(folder / name, ()) for name in classes]
    complaints = [line for of_class in found for line in of_class.complaints]
    if complaints:
        raise UserError(
            f"{folder}: found {len(complaints)} entries that are no images: {'; '.join(complaints)}; expected "
            "files; mend or remove them and run again"
        )
    for name, of_class in zip(classes, found, strict=True):
        if not of_class.images:
            raise UserError(f"{folder / name}: found no image, expected files named {', '.join(IMAGE_SUFFIXES)}")
    counts = [len(of_class.images) for of_class in found]
    files = [file for of_class in found for file in sorted(of_class.images)]
    return files, np.repeat(np.arange(len(classes), dtype=np.int64), counts)


FOLDER, FILE = "a folder", "a file"
DANGLING, ENDLESS = "a link that leads nowhere", "a link that leads to itself"


def _kind(entry: "os.DirEntry[str]") -> str:
    """What an entry is, links followed, in words."""
    try:
        status = entry.stat()
    except FileNotFoundError:
        return DANGLING
    except OSError as error:
        return ENDLESS if error.errno == errno.ELOOP else f"what cannot be read ({error.strerror})"
    if stat.S_ISDIR(status.st_mode):
        return FOLDER
    return FILE if stat.S_ISREG(status.st_mode) else "a pipe, socket or device"


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    """What lies in a folder and is not hidden."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(
            f"{printable(str(folder))}: cannot be read ({error.strerror}); give it to its reader"
        ) from error


def _found_below(folder: Path, above: tuple[tuple[int, int], ...]) -> Found:
    """The images of a folder and its subfolders; `above` are the (device, inode) of the folders that it lies in."""
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        return Found([], [f"{printable(str(folder))} (a link to a folder that it lies in)"])
    found = Found([], [])
    for entry in _entries(folder):
        kind, image = _kind(entry), entry.name.lower().endswith(IMAGE_SUFFIXES)
        if kind == FOLDER:
            below = _found_below(Path(entry.path), (*above, here))
            found.images.extend(below.images)
            found.complaints.extend(below.complaints)
        elif image and kind == FILE:
            status = entry.stat()
            found.images.append(ImageFile(entry.path, status.st_size, status.st_mtime_ns))
        elif image or kind in (DANGLING, ENDLESS):
            found.complaints.append(f"{printable(entry.path)} ({kind})")
    return found


def decode_files(files: Sequence[ImageFile], resize: int, size: int) -> Decoded:
    """The images uint8 [n, 3, size, size] of n files, and a line about each file that does not decode."""
    images = np.zeros((len(files), 3, size, size), dtype=np.uint8)
    complaints: list[str] = []
    for position, file in enumerate(files):
        try:
            images[position] = decode_image(file.path, resize, size)
        except Exception as error:  # Pillow's readers raise many kinds; whatever it is, the image does not decode
            reason = printable(" ".join(str(error).split())) or type(error).__name__
            complaints.append(f"{printable(file.path)} ({reason})")
    return images, complaints


def decode_image(path: str, resize: int, size: int) -> NDArray[np.uint8]:
    """One image as RGB uint8 [3, size, size]: shorter side resized to `resize` (bilinear, antialiased), centre cropped.

    Equal, pixel by pixel, to torchvision's Resize(resize) and CenterCrop(size) of a Pillow image.

    Raises:
        UserError: the image is of no format or kind of pixel that is read, or too large.
        Exception: what Pillow raises where the file is damaged.
    """
    from PIL import Image

    image = open_rgb(path)
    width, height = image.size
    short = min(width, height)
    if short != resize:
        resized = int(resize * width / short), int(resize * height / short)
        if resized[0] * resized[1] > LARGEST:
            raise UserError(f"found {width} x {height} pixels, which resizing would make {resized[0]} x {resized[1]}")
        image = image.resize(resized, Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2.0) for side in image.size)
    cropped = image.crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(cropped).transpose(2, 0, 1))
