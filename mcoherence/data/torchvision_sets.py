"""MNIST, FashionMNIST, KMNIST, CIFAR-10 and CIFAR-100, where torchvision puts them; FashionMNIST where Debian does too.

Below the data folder they lie in MNIST/raw, FashionMNIST/raw, KMNIST/raw, cifar-10-batches-py and cifar-100-python.
torchvision downloads them where that is allowed, and reads CIFAR, whose files it compares with its list of MD5 sums.
The files of MNIST and its relatives are read and checked by `idx_files`.
"""

import os
import pickle
from collections.abc import Mapping
from contextlib import nullcontext
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mcoherence.data.idx_files import FOLDERS, ReadPart, find_files, read_part, way_out
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
PARTS = ("train", "test")
# What reading a file that is cut short or is something else raises.
DAMAGED = (RuntimeError, OSError, EOFError, ValueError, AssertionError, KeyError, pickle.UnpicklingError)


def open_source(settings: Mapping[str, Any], data_folder: Path, download: bool) -> Source:
    """The data set {"source": a key of READERS, "train_size": int | None, "test_size": int | None, "seed": int}.

    Its attribute `published` says by what checksum the files are known to be the published ones, or that there is none.

    Raises:
        UserError: the files are absent or damaged and may not be downloaded or the download fails; they are known to be
            other ones; or a size is wrong.
    """
    name = settings["source"]
    reader = _reader(READERS[name])
    parts, class_names = (_read_idx if name in FOLDERS else _read_batches)(reader, name, data_folder, download)
    chosen: dict[str, SourcePart] = {}
    for part, read in parts.items():
        rows = stratified_positions(read.targets, settings[f"{part}_size"], settings["seed"], f"{name}: {part}_size")
        chosen[part] = SourcePart(read.images[rows], read.targets[rows])
    known = {read.known for read in parts.values()}
    published = (
        f"yes, by {known.pop()}" if len(known) == 1 and None not in known else "unknown: no checksum of it is known"
    )
    return Source(
        **chosen,
        image_shape=parts["train"].images.shape[1:],
        class_names=class_names,
        attributes={"reader": f"torchvision {version('torchvision')}", "published": published},
    )


def _reader(name: str) -> Any:
    from torchvision import datasets  # two seconds; only the jobs that read one of these sets wait for it

    return getattr(datasets, name)


def _read_idx(reader: Any, name: str, folder: Path, download: bool) -> tuple[dict[str, ReadPart], tuple[str, ...]]:
    """The parts of MNIST or a relative, and the names of the classes."""
    try:
        files = find_files(name, folder)
    except UserError:
        if not download:
            raise
        _download(reader, name, folder)
        files = find_files(name, folder)
    sums = dict(reader.resources)
    class_names = tuple(str(label).partition(" - ")[0] for label in reader.classes)  # "0 - zero" is class "0"
    return {part: read_part(name, part, files, sums) for part in PARTS}, class_names


def _read_batches(reader: Any, name: str, folder: Path, download: bool) -> tuple[dict[str, ReadPart], tuple[str, ...]]:
    """The parts of CIFAR, unpacked first where only the archive is there, and the names of the classes."""
    _provide_batches(reader, name, folder, download)
    try:
        read = {part: reader(root=folder, train=part == "train", download=False) for part in PARTS}
        parts = {
            part: ReadPart(
                np.ascontiguousarray(np.asarray(one.data, dtype=np.uint8).transpose(0, 3, 1, 2)),
                np.asarray(one.targets, dtype=np.int64),
                "torchvision's MD5 sums",
            )
            for part, one in read.items()
        }
        for part in parts.values():
            if not len(part.images) == len(part.targets) > 0:
                raise ValueError(f"{len(part.images)} images and {len(part.targets)} targets")
    except DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name}: the files of {reader.__name__} in {folder} are damaged ({reason}); delete them, and put "
            "them there again or set download: true"
        ) from error
    return parts, tuple(read["train"].classes)


def _provide_batches(reader: Any, name: str, folder: Path, download: bool) -> None:
    """See to it that CIFAR's files are there: unpack the archive beside them, or download it if that is allowed."""
    from torchvision.datasets.utils import check_integrity

    files = dict(reader.train_list + reader.test_list) | {reader.meta["filename"]: reader.meta["md5"]}

    def unpacked() -> bool:
        return all(check_integrity(folder / reader.base_folder / file, md5) for file, md5 in files.items())

    # In a shared folder that cannot be written to no lock can be made.
    with nullcontext() if unpacked() and not os.access(folder, os.W_OK) else _lock(reader, name, folder):
        if unpacked():
            return
        if not (download or check_integrity(folder / reader.filename, reader.tgz_md5)):
            raise UserError(
                f"{name}: {reader.__name__} not found or damaged in {folder}, expected {reader.filename} with "
                f"torchvision's checksum, or what it holds: the folder {reader.base_folder}; put it there, set "
                "data_folder, or set download: true"
            )
        _by_torchvision(reader, name, folder, f"put {reader.filename} there")


def _download(reader: Any, name: str, folder: Path) -> None:
    """Have torchvision download the archives of MNIST or a relative and unpack them, unless another job has."""
    with _lock(reader, name, folder):
        _by_torchvision(reader, name, folder, way_out(name, folder))


def _by_torchvision(reader: Any, name: str, folder: Path, other_way: str) -> None:
    try:
        reader(root=folder, train=True, download=True)  # does nothing where the unpacked files are there
    except (*DAMAGED, HTTPException) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{name}: {reader.__name__} could not be downloaded to {folder} ({reason}); "
            f"check the network, or {other_way}"
        ) from error


def _lock(reader: Any, name: str, folder: Path) -> Any:
    """What keeps other jobs out that provide the same set."""
    from filelock import FileLock

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{name}: data_folder: found {folder}, which cannot be made ({error}); set another one"
        ) from error
    return FileLock(folder / f".{reader.__name__}.lock")
