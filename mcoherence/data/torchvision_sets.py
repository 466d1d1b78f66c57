"""MNIST, FashionMNIST, KMNIST, CIFAR-10 and CIFAR-100 through torchvision's readers.

The files lie where torchvision puts them: below the data folder, in MNIST/raw, FashionMNIST/raw, KMNIST/raw,
cifar-10-batches-py and cifar-100-python. torchvision checks what it downloads or unpacks against its list of MD5 sums,
and CIFAR's unpacked files again whenever it reads them.
"""

import os
import pickle
from collections.abc import Mapping
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
        data = _read(reader, settings["source"], data_folder, train=part == "train")
        images, targets = _as_channels_first(data.data), np.asarray(data.targets, dtype=np.int64)
        key = f"{settings['source']}: {part}_size"
        chosen = stratified_positions(targets, settings[f"{part}_size"], settings["seed"], key)
        parts[part] = SourcePart(images[chosen], targets[chosen])
    return Source(
        **parts,
        image_shape=images.shape[1:],
        class_names=tuple(str(name).partition(" - ")[0] for name in data.classes),  # "0 - zero" is class "0"
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
    if _unpacked(reader, folder) and not os.access(folder, os.W_OK):  # a shared folder, in which no lock can be made
        return
    with FileLock(_made(folder, name) / f".{reader.__name__}.lock"):  # jobs side by side
        if _unpacked(reader, folder):
            return
        complete = all(check_integrity(path, md5) for path, md5 in archives.items())
        if not (complete or download):
            raise UserError(
                f"{name}: {reader.__name__} not found or damaged in {folder}, expected the unpacked files or "
                f"{names} with torchvision's checksums; "
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
    """Whether torchvision would read what is there: for CIFAR, with the right checksums."""
    from torchvision.datasets.utils import check_integrity

    if hasattr(reader, "resources"):
        return all(path.with_suffix("").is_file() for path in _archives(reader, folder))
    files = dict(reader.train_list + reader.test_list) | {reader.meta["filename"]: reader.meta["md5"]}
    return all(check_integrity(folder / reader.base_folder / name, md5) for name, md5 in files.items())


def _made(folder: Path, name: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{name}: data_folder: found {folder}, which cannot be made ({error}); set another one"
        ) from error
    return folder


def _read(reader: Any, name: str, folder: Path, train: bool) -> Any:
    """The data set of torchvision, read without downloading."""
    try:
        data = reader(root=folder, train=train, download=False)
        if not len(data.data) == len(data.targets) > 0:
            raise ValueError(f"{len(data.data)} images and {len(data.targets)} targets")
    except DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name}: the files of {reader.__name__} in {folder} are damaged ({reason}); delete them, and put "
            "them there again or set download: true"
        ) from error
    return data


def _as_channels_first(data: Any) -> NDArray[np.uint8]:
    """Images uint8 [N, C, H, W] from torchvision's [N, H, W] (one channel) or [N, H, W, C]."""
    images = np.asarray(data, dtype=np.uint8)
    return images[:, None] if images.ndim == 3 else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
