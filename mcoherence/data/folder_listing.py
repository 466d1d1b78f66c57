"""What lay in a folder of images when it was prepared, in few words, to tell later whether it is still the same.

Only what the reader reads counts (`image_folder`): files with an image's suffix below the class folders of train and
val. They are put into 4,096 buckets by the digest of their path, and each bucket has three digests: of paths, sizes and
stamps of content, which a faithful copy keeps (`cp -a`); of inodes and stamps of any change, which no edit keeps, but
neither does a chmod or a hard link; and of content. At a start the content is read of those buckets alone whose second
digest differs and whose first does not. So an image of the same size and stamp that took another's place is seen, and
no other change.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mcoherence.data.image_folder import FOLDERS, IMAGE_SUFFIXES
from mcoherence.files.json_csv import write_json

OPERATIONAL = True  # no number depends on it; docs/reruns.md

FORMAT = "mcoherence/folder/2"
BESIDE = "folder.json"  # beside images.h5
Marks = tuple[str, ...]  # of a file


class Bucket(NamedTuple):
    """Digests of some of the files: of names, sizes and stamps; of inodes and stamps of change; of content."""

    named: str
    exact: str
    content: str


class _Image(NamedTuple):
    path: str
    named: Marks
    exact: Marks


def listing(root: Path, threads: int = 1) -> dict[str, Bucket]:
    """Bucket -> digests of the images below the folder; every image is read, by so many threads."""
    found = _buckets(root)
    with ThreadPoolExecutor(threads) as readers:
        content = dict(zip(found, readers.map(_content, found.values()), strict=True))
    return {bucket: Bucket(*_digests(images), content[bucket]) for bucket, images in found.items()}


def _buckets(root: Path) -> dict[str, list[_Image]]:
    """Bucket -> its images; hidden files are left out, links are followed, none is read."""
    buckets: dict[str, list[_Image]] = {}
    for part in FOLDERS.values():
        for kind in _entries(os.path.join(root, part)):
            for path, status in _below(kind.path, ()) if kind.is_dir() else ():
                name = os.fsencode(os.path.relpath(path, root))
                named = (name.hex(), str(status.st_size), str(status.st_mtime_ns))
                bucket = hashlib.blake2b(name, digest_size=2).hexdigest()[:3]
                exact = (name.hex(), str(status.st_ino), str(status.st_ctime_ns))
                buckets.setdefault(bucket, []).append(_Image(path, named, exact))
    return {bucket: sorted(images) for bucket, images in sorted(buckets.items())}


def _entries(folder: str) -> list["os.DirEntry[str]"]:
    """What lies in a folder and is not hidden; nothing where there is no such folder."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]
    return []


def _below(folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, os.stat_result]]:
    """Paths and what is known of the images of a folder; `above` are the (device, inode) of those that it lies in."""
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:  # a link to a folder that it lies in, of which the reader complains
        return
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _below(entry.path, (*above, here))
        elif entry.name.lower().endswith(IMAGE_SUFFIXES):
            with suppress(OSError):  # a link that leads nowhere, of which the reader complains
                yield entry.path, entry.stat()


def _digests(images: list[_Image]) -> tuple[str, str]:
    return _digest([one.named for one in images]), _digest([one.exact for one in images])


def _digest(entries: list[Marks]) -> str:
    return hashlib.blake2b(json.dumps(entries).encode(), digest_size=8).hexdigest()


def _content(images: list[_Image]) -> str:
    """Digest of the content of some images; of one that cannot be read, of that, and the reader says it in words."""
    digests: list[Marks] = []
    for image in images:
        try:
            with open(image.path, "rb") as file:
                digests.append((hashlib.file_digest(file, "blake2b").hexdigest(),))
        except OSError:
            digests.append(("",))
    return _digest(digests)


def keep_listing(images: Path, root: Path, found: Mapping[str, Bucket]) -> None:
    """Write down, beside images.h5, what lay in the folder that it was made from."""
    write_json(images.with_name(BESIDE), {"format": FORMAT, "root": os.path.abspath(root), "buckets": dict(found)})


def has_changed(images: Path, root: Path) -> bool:
    """Whether other images are in the folder than when images.h5 was made from it.

    False where nobody wrote that down, where the folder is not there any more, and where every image has another inode
    or stamp of change: then it is a copy that kept sizes and stamps. Where only inodes or stamps of change differ, the
    content is read, and what was found is written down, so that the next start need not.

    Raises:
        OSError: the folder, or one in it, cannot be read.
    """
    try:
        kept: dict[str, Any] = json.loads(images.with_name(BESIDE).read_text(encoding="utf-8"))
        before = {str(bucket): Bucket(*map(str, digests)) for bucket, digests in kept["buckets"].items()}
        if kept["format"] != FORMAT or not before or not root.is_dir():
            return False
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False
    found = _buckets(root)
    now = {bucket: _digests(of_bucket) for bucket, of_bucket in found.items()}
    if {bucket: named for bucket, (named, _) in now.items()} != {bucket: one.named for bucket, one in before.items()}:
        return True
    differing = [bucket for bucket, (_, exact) in now.items() if exact != before[bucket].exact]
    if len(differing) in (0, len(now)):
        return False
    if any(_content(found[bucket]) != before[bucket].content for bucket in differing):
        return True
    with suppress(OSError):
        seen = {bucket: before[bucket]._replace(exact=now[bucket][1]) for bucket in differing}
        keep_listing(images, root, before | seen)
    return False
