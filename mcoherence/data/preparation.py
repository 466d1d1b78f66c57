"""Preparing a data set: source -> images.h5, block by block, so that ImageNet never lies in memory.

Images that must be decoded go to a file beside the output first, block by block, each block with a digest of what it
was made from and of its bytes. A preparation that was killed continues after the last good block, and the finished file
is the same, byte by byte. Only when every image has been decoded is images.h5 put together.
"""

import hashlib
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcoherence.data.arguments import whole_number
from mcoherence.data.sources import Decoded, Items, Source, SourcePart
from mcoherence.data.store import IMAGES_SCHEMA
from mcoherence.errors import UserError
from mcoherence.files.atomic import naming
from mcoherence.files.canonical import canonical_json
from mcoherence.files.digests import short_digest
from mcoherence.files.hdf5 import new_hdf5, write_attributes
from mcoherence.files.progress import progress

CHUNK_BYTES = 2**18  # of whole images; an image bigger than half of it has a chunk of its own
BLOCK_CHUNKS = 4
DIGEST_BYTES = 16


def prepare_images(
    path: str | os.PathLike[str], source: Source, attributes: Mapping[str, Any], workers: int = 1, resume_key: str = ""
) -> None:
    """Write images.h5 from an opened source; the mean and std are those of the training part.

    Args:
        path: of images.h5. What is kept for continuing lies beside it, in hidden files.
        source: the data set.
        attributes: provenance, written into the file.
        workers: processes that decode.
        resume_key: what decoding depends on besides the files: settings, code. What another key has kept is removed.

    Raises:
        UserError: images do not decode (all of them are named), or a channel of the training part is constant.
    """
    path = Path(path)
    whole_number("workers", workers, least=1)
    parts = {"train": source.train, "test": source.test}
    partial = _partial_paths(path, parts, canonical_json([resume_key, source.attributes]))
    complaints = [
        complaint
        for name, part in parts.items()
        if part.decode is not None
        for complaint in _decode_part(partial[name], part, source.image_shape, workers, name)
    ]
    if complaints:
        raise UserError(
            f"found {len(complaints)} images that do not decode: {'; '.join(complaints)}; "
            "repair or remove them and run again"
        )
    with new_hdf5(path, IMAGES_SCHEMA) as file:
        sums = ChannelSums(source.image_shape[0])
        content = hashlib.sha256()
        for name, part in parts.items():
            images = _create_images(file, name, len(part.targets), source.image_shape)
            for start, block in _blocks(partial[name], part, source.image_shape):
                images[start : start + len(block)] = block
                content.update(block.tobytes())
                if name == "train":
                    sums.add(block)
            file.create_dataset(f"{name}/targets", data=part.targets, chunks=True, compression="gzip", fletcher32=True)
            content.update(part.targets.tobytes())
        mean, std = sums.mean_and_std()
        if not np.all(std > 0):
            raise UserError(
                f"channel {int(np.argmin(std))} of the training images is the same everywhere, expected a picture in it"
            )
        described = {"mean": mean, "std": std, "class_names": list(source.class_names)}
        write_attributes(file, {**source.attributes, **attributes, **described, "content_sha256": content.hexdigest()})
    for kept in partial.values():
        kept.unlink(missing_ok=True)


class ChannelSums:
    """Sums of pixel values and of their squares per channel, as exact integers, from which mean and std follow."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.sums = [0] * channels
        self.squares = [0] * channels

    def add(self, images: NDArray[np.uint8]) -> None:
        """Count the pixels of images [n, C, H, W]."""
        axes = (0, 2, 3)
        self.count += images[:, 0].size
        sums = images.sum(axis=axes, dtype=np.int64)
        squares = np.square(images, dtype=np.uint16).sum(axis=axes, dtype=np.int64)  # 255^2 just fits
        self.sums = [total + int(more) for total, more in zip(self.sums, sums, strict=True)]
        self.squares = [total + int(more) for total, more in zip(self.squares, squares, strict=True)]

    def mean_and_std(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation (of the population) per channel of pixel / 255, float64 [C] each."""
        n = self.count
        mean = [total / (255 * n) for total in self.sums]
        # n^2 times the variance is a whole number: nothing is rounded before the difference is taken
        scaled = [n * square - total**2 for total, square in zip(self.sums, self.squares, strict=True)]
        std = [math.sqrt(variance) / (255 * n) for variance in scaled]
        return np.array(mean), np.array(std)


def _create_images(file: h5py.File, part: str, count: int, shape: tuple[int, int, int]) -> h5py.Dataset:
    """The empty dataset of a part's images. Chunks are whole images.

    Small images share a compressed chunk, since such sets are read whole. A big image has a chunk of its own, not
    compressed: it is read alone, again and again, and photographs shrink little.
    """
    rows = _rows_per_chunk(shape)
    compression = {"compression": "gzip"} if rows > 1 else {}
    return file.create_dataset(
        f"{part}/images", (count, *shape), np.uint8, chunks=(min(rows, count), *shape), fletcher32=True, **compression
    )


def _rows_per_chunk(shape: tuple[int, int, int]) -> int:
    return max(1, CHUNK_BYTES // math.prod(shape))


def _rows_per_block(shape: tuple[int, int, int]) -> int:
    return BLOCK_CHUNKS * _rows_per_chunk(shape)


def _slices(count: int, shape: tuple[int, int, int], first: int = 0) -> Iterator[slice]:
    """The rows of each block, from block `first` on."""
    rows = _rows_per_block(shape)
    return (slice(start, min(start + rows, count)) for start in range(first * rows, count, rows))


def _blocks(partial: Path, part: SourcePart, shape: tuple[int, int, int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The blocks of a part in order, each with the position of its first image."""
    if part.decode is None:
        for rows in _slices(len(part.items), shape):
            yield rows.start, np.asarray(part.items[rows], dtype=np.uint8)
        return
    with partial.open("rb") as kept:
        for rows in _slices(len(part.items), shape):
            content = kept.read((rows.stop - rows.start) * math.prod(shape))
            kept.seek(DIGEST_BYTES, 1)
            yield rows.start, np.frombuffer(content, dtype=np.uint8).reshape(-1, *shape)


def _partial_paths(path: Path, parts: Iterable[str], key: str) -> dict[str, Path]:
    """The file of decoded blocks of each part; those of other keys are removed."""
    digest = short_digest(key)
    paths = {name: path.with_name(f".{path.name}.{digest}.{name}.partial") for name in parts}
    for stale in set(path.parent.glob(f".{path.name}.*.partial")) - set(paths.values()):
        stale.unlink()
    return paths


def _decode_part(partial: Path, part: SourcePart, shape: tuple[int, int, int], workers: int, name: str) -> list[str]:
    """Decode what `partial` lacks and append it; returns a line about each image that does not decode.

    After the first such image nothing more is appended, but the rest is still decoded, so that all of them are found.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    complaints: list[str] = []
    with naming(partial), partial.open("a+b") as kept:
        done = _good_blocks(kept, part, shape)
        remaining = [part.items[rows] for rows in _slices(len(part.items), shape, done)]
        decoded = progress(_decoded(part, remaining, workers), len(remaining), f"decode {name}")
        for items, (images, failed) in zip(remaining, decoded, strict=True):
            complaints += failed
            if not complaints:
                kept.write(images.tobytes() + _digest(items, images))
                kept.flush()
    return complaints


def _good_blocks(kept: Any, part: SourcePart, shape: tuple[int, int, int]) -> int:
    """How many blocks of an opened partial file are whole and made of the same items; the rest is cut off."""
    kept.seek(0)
    good, end = 0, 0
    for rows in _slices(len(part.items), shape):
        images = np.frombuffer(kept.read((rows.stop - rows.start) * math.prod(shape)), dtype=np.uint8)
        if kept.read(DIGEST_BYTES) != _digest(part.items[rows], images):
            break
        good, end = good + 1, kept.tell()
    kept.truncate(end)
    return good


def _digest(items: Items, images: NDArray[np.uint8]) -> bytes:
    """Digest of what a block was made from and of its bytes."""
    digest = hashlib.blake2b(repr(items).encode(), digest_size=DIGEST_BYTES)
    digest.update(images.tobytes())
    return digest.digest()


def _decoded(part: SourcePart, blocks: Sequence[Items], workers: int) -> Iterator[Decoded]:
    """The blocks decoded, in order, by `workers` processes that run a few blocks ahead."""
    assert part.decode is not None
    if workers == 1 or len(blocks) < 2:
        yield from map(part.decode, blocks)
        return
    waiting: deque[Future[Decoded]] = deque()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        for block in blocks:
            waiting.append(pool.submit(part.decode, block))
            if len(waiting) > 3 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _end_with_parent() -> None:
    """End this worker when the process that started it is gone; a killed parent would leave it waiting for ever."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()
