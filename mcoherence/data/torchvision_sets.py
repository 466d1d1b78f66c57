"""MNIST, FashionMNIST, KMNIST, CIFAR-10 and CIFAR-100 through torchvision's readers.

The files lie where torchvision puts them: below the data folder, in MNIST/raw, FashionMNIST/raw, KMNIST/raw,
cifar-10-batches-py and cifar-100-python. torchvision checks what it downloads or unpacks against its list of MD5 sums,
and CIFAR's unpacked files again whenever it reads them. Of the unpacked files of MNIST and its relatives it has no
sums: they must be what a checked archive beside them holds; without it, as many images as were published, of their
size, and labels of the ten classes.
"""

import gzip
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcoherence.data.sources import Source, SourcePart
from mcoherence.data.stratified import stratified_positions
from mcoherence.errors import UserError

READERS = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}
# What the sets of the MNIST family hold, each part: all of them were made to replace MNIST file by file.
PUBLISHED = {"train": 60_000, "test": 10_000}
PARTS_OF_FILES = {"train": "train", "test": "t10k"}
SIDE, CLASSES = 28, 10
# What reading a file that is cut short or is something else raises.
DAMAGED = (RuntimeError, OSError, EOFError, ValueError, AssertionError, KeyError, pickle.UnpicklingError)


def open_source(settings: Mapping[str, Any], data_folder: Path, download: bool) -> Source:
    """The data set {"source": a key of READERS, "train_size": int | None, "test_size": int | None, "seed": int}.

    Raises:
        UserError: the files are absent or damaged and may not be downloaded or the download fails; or a size is wrong.
    """
    reader = _reader(READERS[settings["source"]])
    _provide(reader, settings["source"], data_folder, download)
    parts: dict[str, SourcePart] = {}
    for part in ("train", "test"):
        read = _read(reader, settings["source"], data_folder, part)
        key = f"{settings['source']}: {part}_size"
        chosen = stratified_positions(read.targets, settings[f"{part}_size"], settings["seed"], key)
        parts[part] = SourcePart(read.images[chosen], read.targets[chosen])
    return Source(
        **parts,
        image_shape=read.images.shape[1:],
        class_names=tuple(str(name).partition(" - ")[0] for name in read.classes),  # "0 - zero" is class "0"
        attributes={"reader": f"torchvision {version('torchvision')}"},
    )


def _reader(name: str) -> Any:
    from torchvision import datasets  # two seconds; only the jobs that read one of these sets wait for it

    return getattr(datasets, name)


def _provide(reader: Any, name: str, folder: Path, download: bool) -> None:
    """See to it that the unpacked files are there: unpack the archives beside them, or download if that is allowed."""
    from filelock import FileLock
    from torchvision.datasets.utils import check_integrity

    archives = _archives(reader, folder)
    names = ", ".join(str(path.relative_to(folder)) for path in archives)
    looked_for = f"{names} with torchvision's checksums, or what they hold: {_names_unpacked(reader)}"
    if _unpacked(reader, folder) and not os.access(folder, os.W_OK):  # a shared folder, in which no lock can be made
        return
    with FileLock(_made(folder, name) / f".{reader.__name__}.lock"):  # jobs side by side
        if _unpacked(reader, folder):
            return
        complete = all(check_integrity(path, md5) for path, md5 in archives.items())
        if not (complete or download):
            raise UserError(
                f"{name}: {reader.__name__} not found or damaged in {folder}, expected {looked_for}; "
                "put them there, set data_folder, or set download: true"
            )
        try:
            reader(root=folder, train=True, download=True)
        except (*DAMAGED, HTTPException) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{name}: {reader.__name__} could not be downloaded to {folder} ({reason}); "
                f"check the network, or put {names} there"
            ) from error


def _archives(reader: Any, folder: Path) -> dict[Path, str]:
    """The files that torchvision downloads, with their MD5 sums."""
    if hasattr(reader, "resources"):
        raw = folder / reader.__name__ / "raw"
        return {raw / Path(name).name: md5 for name, md5 in reader.resources}
    return {folder / reader.filename: reader.tgz_md5}


def _unpacked(reader: Any, folder: Path) -> bool:
    """Whether the unpacked files are there: for CIFAR, with the right checksums."""
    from torchvision.datasets.utils import check_integrity

    if hasattr(reader, "resources"):
        return all(_idx_file(reader, folder, part, kind) for part in PARTS_OF_FILES for kind in IDX_FILES)
    files = dict(reader.train_list + reader.test_list) | {reader.meta["filename"]: reader.meta["md5"]}
    return all(check_integrity(folder / reader.base_folder / name, md5) for name, md5 in files.items())


IDX_FILES = {"images": "images-idx3-ubyte", "labels": "labels-idx1-ubyte"}


def _idx_file(reader: Any, folder: Path, part: str, kind: str) -> Path | None:
    """The unpacked file of images or labels of a part, by its published name or with the dot that 7-zip puts there."""
    raw, name = folder / reader.__name__ / "raw", f"{PARTS_OF_FILES[part]}-{IDX_FILES[kind]}"
    return next((raw / spelt for spelt in (name, name.replace("-idx", ".idx")) if (raw / spelt).is_file()), None)


def _names_unpacked(reader: Any) -> str:
    """The unpacked files that are looked for, in words."""
    if hasattr(reader, "resources"):
        return "files of these names without .gz, or with .idx in place of -idx"
    return f"the folder {reader.base_folder}"


def _made(folder: Path, name: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{name}: data_folder: found {folder}, which cannot be made ({error}); set another one"
        ) from error
    return folder


@dataclass(frozen=True)
class _Part:
    """One part as torchvision reads it.

    images: uint8 [N, C, H, W]; targets: int64 [N]; classes: their names; published: whether checksums show that the
    files are the published ones.
    """

    images: NDArray[np.uint8]
    targets: NDArray[np.int64]
    classes: Sequence[str]
    published: bool


def _read(reader: Any, name: str, folder: Path, part: str) -> _Part:
    """One part, read without downloading.

    Raises:
        UserError: the files are damaged, or are not those that were published.
    """
    try:
        read = _read_idx(reader, folder, part) if hasattr(reader, "resources") else _read_batches(reader, folder, part)
        if not len(read.images) == len(read.targets) > 0:
            raise ValueError(f"{len(read.images)} images and {len(read.targets)} targets")
    except DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name}: the files of {reader.__name__} in {folder} are damaged ({reason}); delete them, and put "
            "them there again or set download: true"
        ) from error
    if not read.published:
        _require_published(read, f"{name}: {folder / reader.__name__ / 'raw'}", part)
    return read


def _read_batches(reader: Any, folder: Path, part: str) -> _Part:
    """A part of CIFAR, whose files torchvision checks as it reads them."""
    data = reader(root=folder, train=part == "train", download=False)
    images = np.asarray(data.data, dtype=np.uint8).transpose(0, 3, 1, 2)
    return _Part(np.ascontiguousarray(images), np.asarray(data.targets, dtype=np.int64), data.classes, True)


def _read_idx(reader: Any, folder: Path, part: str) -> _Part:
    """A part of a set of the MNIST family."""
    from torchvision.datasets.mnist import read_image_file, read_label_file

    files = {kind: str(_idx_file(reader, folder, part, kind)) for kind in IDX_FILES}
    images, targets = read_image_file(files["images"]).numpy(), read_label_file(files["labels"]).numpy()
    published = [_is_of_archive(Path(path), _archives(reader, folder)) for path in files.values()]
    return _Part(images[:, None], targets, reader.classes, all(published))


def _is_of_archive(path: Path, archives: Mapping[Path, str]) -> bool:
    """Whether the archive that a file is unpacked from lies beside it, with the published checksum.

    Raises:
        ValueError: it does, and holds something else.
    """
    from torchvision.datasets.utils import check_integrity

    archive = path.with_name(path.name.replace(".idx", "-idx") + ".gz")
    if not check_integrity(archive, archives[archive]):
        return False
    if gzip.decompress(archive.read_bytes()) != path.read_bytes():
        raise ValueError(f"{path.name} is not what {archive.name} holds")
    return True


def _require_published(read: _Part, where: str, part: str) -> None:
    """Refuse files that cannot be the published ones, by their number, their size or their labels."""
    count, outside = PUBLISHED[part], read.targets[read.targets >= CLASSES]
    if len(read.images) != count:
        found, expected = f"{len(read.images)} images", f"the {count} that were published"
    elif read.images.shape[2:] != (SIDE, SIDE):
        found, expected = "images of {} x {} pixels".format(*read.images.shape[2:]), f"{SIDE} x {SIDE}"
    elif outside.size:
        found, expected = f"label {outside[0]}", f"labels from 0 to {CLASSES - 1}"
    else:
        return
    raise UserError(
        f"{where}: found {found} in the part {part}, expected {expected}; put the published files there, or set "
        "data_folder to a folder that has them"
    )
