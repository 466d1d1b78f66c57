"""The four files of MNIST and its relatives: found packed or unpacked, read (IDX format), known by what they hold.

A file counts as the published one by the SHA-256 of its content, so that it may have been unpacked, or packed again as
Debian does. The digests of Fashion-MNIST follow from torchvision's MD5 sums of the archives: Debian's package holds the
same compressed data under other gzip headers, and with the published headers (a name and a time) all four archives have
these MD5 sums, byte for byte. Those of MNIST are what several public projects record beside the same archives; no
archive of it was at hand. Of KMNIST none is known: there, an archive with torchvision's MD5 sum is the published one.
"""

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcoherence.errors import UserError

FOLDERS = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw", "kmnist": "KMNIST/raw"}  # torchvision's places
PACKAGES = {"fashion_mnist": ("dataset-fashion-mnist", Path("/usr/share/datasets/fashion-mnist"))}  # of Debian
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
NAMES = [name for part in FILES.values() for name in part]
CONTENT = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}
# What each part of every set holds: all of them were made to replace MNIST file by file.
COUNTS = {"train": 60_000, "test": 10_000}
SIDE, CLASSES = 28, 10
UNSIGNED_BYTES = 8  # IDX's number of the type of its values


@dataclass(frozen=True)
class ReadPart:
    """One part as it was published: images uint8 [N, C, H, W], targets int64 [N]; `known` says by what it is known.

    known: the checksum that shows that the files are the published ones, in words; None where there is none.
    """

    images: NDArray[np.uint8]
    targets: NDArray[np.int64]
    known: str | None


def find_files(name: str, data_folder: Path) -> dict[str, Path]:
    """Published name -> file, for the four files of a set: below the data folder, else where a package puts them.

    Each by its published name, or with the dot that 7-zip puts there (train-images.idx3-ubyte), with or without .gz.

    Raises:
        UserError: some of the files, or all, are missing.
    """
    places = [data_folder / FOLDERS[name], *(PACKAGES[name][1:] if name in PACKAGES else ())]
    for place in places:
        found = {published: file for published in NAMES if (file := _file(place, published))}
        missing = [published for published in NAMES if published not in found]
        if found and missing:
            raise UserError(
                f"{name}: found no {' and no '.join(missing)} in {place}, expected all four files, packed or unpacked; "
                "put them there, remove the others, or set download: true"
            )
        if found:
            return found
    raise UserError(
        f"{name}: found none of its files in {' or '.join(map(str, places))}, expected four of them; "
        f"{way_out(name, data_folder)}, set data_folder, or set download: true"
    )


def way_out(name: str, data_folder: Path) -> str:
    """How the files of a set can be had without a download, in words."""
    install = f"install Debian's package (apt-get install {PACKAGES[name][0]}), " if name in PACKAGES else ""
    return f"{install}put {NAMES[0]}.gz and the other three, packed or unpacked, into {data_folder / FOLDERS[name]}"


def _file(folder: Path, published: str) -> Path | None:
    spellings = [published, published.replace("-idx", ".idx")]
    candidates = [folder / f"{spelt}{packed}" for packed in ("", ".gz") for spelt in spellings]
    return next((path for path in candidates if path.is_file()), None)


def read_part(name: str, part: str, files: Mapping[str, Path], archive_sums: Mapping[str, str]) -> ReadPart:
    """The part "train" or "test" of a set, read from its files.

    Args:
        name: a key of FOLDERS.
        part: a key of FILES.
        files: as `find_files` returns them.
        archive_sums: name of each published archive (with .gz) -> its MD5 sum.

    Raises:
        UserError: a file is damaged, or is known not to be the published one.
    """
    contents = {published: _content(name, files[published]) for published in FILES[part]}
    arrays = [_values(name, files[published], content) for published, content in contents.items()]
    images, labels = arrays
    of_part = ", ".join(str(files[published]) for published in contents)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise UserError(
            f"{name}: damaged: found values of shapes {images.shape} and {labels.shape} in {of_part}, expected an "
            "image for every label; put the published files there"
        )
    if name in CONTENT:
        _require_published(name, files, contents, images)
        known: str | None = "the SHA-256 of what its files hold"
    else:
        archives = [_is_of_archive(name, files[one], content, archive_sums) for one, content in contents.items()]
        known = "torchvision's MD5 sums" if all(archives) else None
        _require_possible(f"{name}: {of_part}", part, images, labels)
    return ReadPart(images[:, None], labels.astype(np.int64), known)


def _content(name: str, file: Path) -> bytes:
    """The bytes of a file, unpacked."""
    try:
        content = file.read_bytes()
        return gzip.decompress(content) if file.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(_damaged(name, file, str(error) or type(error).__name__)) from error


def _damaged(name: str, file: Path, reason: str) -> str:
    again = "put the published file there again"
    if name in PACKAGES and file.parent == PACKAGES[name][1]:
        again = f"install it again (apt-get install --reinstall {PACKAGES[name][0]})"
    return f"{name}: {file} is damaged ({' '.join(reason.split())}); {again}"


def _values(name: str, file: Path, content: bytes) -> NDArray[np.uint8]:
    """The values of an IDX file: two zeros, the type, the rank, the sizes as big-endian integers of 32 bits, values."""
    if content[:3] != bytes([0, 0, UNSIGNED_BYTES]) or len(content) < 4 + 4 * content[3]:
        raise UserError(_damaged(name, file, "it does not begin as an IDX file of bytes does"))
    rank = content[3]
    shape = struct.unpack_from(f">{rank}I", content, 4)
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank)
    if values.size != math.prod(shape):
        raise UserError(_damaged(name, file, f"it has {values.size} values instead of {math.prod(shape)}"))
    return values.reshape(shape)


def _require_published(
    name: str, files: Mapping[str, Path], contents: Mapping[str, bytes], images: NDArray[np.uint8]
) -> None:
    for published, content in contents.items():
        found, expected = hashlib.sha256(content).hexdigest(), CONTENT[name][published]
        if found != expected:
            raise UserError(
                f"{name}: {files[published]} is not the published {published}: found SHA-256 {found[:16]}... of its "
                f"content, {len(images)} images in this part, expected {expected[:16]}...; put the published files "
                "there, or write your images as a folder of images (source: folder)"
            )


def _is_of_archive(name: str, file: Path, content: bytes, archive_sums: Mapping[str, str]) -> bool:
    """Whether a file is, or lies beside, the archive with the published checksum; that one must hold the same then."""
    archive = file if file.suffix == ".gz" else file.with_name(file.name.replace(".idx", "-idx") + ".gz")
    packed = archive.read_bytes() if archive.is_file() else b""
    if hashlib.md5(packed, usedforsecurity=False).hexdigest() != archive_sums.get(archive.name.replace(".idx", "-idx")):
        return False
    if gzip.decompress(packed) != content:
        raise UserError(_damaged(name, file, f"it is not what {archive.name} holds"))
    return True


def _require_possible(where: str, part: str, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    """Refuse files that cannot be the published ones, by their number, their size or their labels."""
    count, outside = COUNTS[part], labels[labels >= CLASSES]
    if len(images) != count:
        found, expected = f"{len(images)} images", f"the {count} that were published"
    elif images.shape[1:] != (SIDE, SIDE):
        found, expected = "images of {} x {} pixels".format(*images.shape[1:]), f"{SIDE} x {SIDE}"
    elif outside.size:
        found, expected = f"label {outside[0]}", f"labels from 0 to {CLASSES - 1}"
    else:
        return
    raise UserError(
        f"{where}: found {found} in the part {part}, expected {expected}; put the published files there, or set "
        "data_folder to a folder that has them"
    )
