"""What lay in a folder of images when it was prepared, in few words, to tell later whether it is still the same.

No image is read. Files are put into 256 buckets by the digest of their path, and each bucket has two digests: of paths,
sizes and stamps of content, which a faithful copy keeps (`cp -a`), and of these with inodes and stamps of any change,
which no edit keeps. So an image of the same size and stamp that took another's place is seen as well.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcoherence.files.json_csv import write_json

OPERATIONAL = True  # no number depends on it; docs/reruns.md

FORMAT = "mcoherence/folder/1"
BESIDE = "folder.json"  # beside images.h5


def listing(root: Path) -> dict[str, list[str]]:
    """Bucket -> both digests of the files below the folder; hidden ones are left out, links are followed."""
    buckets: dict[str, list[tuple[str, ...]]] = {}
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        folders[:] = [] if here in seen else sorted(name for name in folders if not name.startswith("."))
        if here in seen:  # a link to a folder that was here already
            continue
        seen.add(here)
        below = os.path.relpath(folder, root)
        for name in names:
            if name.startswith("."):
                continue
            path = os.fsencode(os.path.join(below, name))
            try:
                found = os.stat(os.path.join(folder, name))
            except OSError:
                continue  # a link that leads nowhere
            kept = (path.hex(), str(found.st_size), str(found.st_mtime_ns))
            bucket = hashlib.blake2b(path, digest_size=1).hexdigest()
            buckets.setdefault(bucket, []).append((*kept, str(found.st_ino), str(found.st_ctime_ns)))
    return {
        bucket: [_digest([one[:3] for one in sorted(files)]), _digest(sorted(files))]
        for bucket, files in sorted(buckets.items())
    }


def _digest(entries: list[tuple[str, ...]]) -> str:
    return hashlib.blake2b(json.dumps(entries).encode(), digest_size=8).hexdigest()


def keep_listing(images: Path, root: Path, found: Mapping[str, list[str]]) -> None:
    """Write down, beside images.h5, what lay in the folder that it was made from."""
    write_json(images.with_name(BESIDE), {"format": FORMAT, "root": os.path.abspath(root), "buckets": dict(found)})


def has_changed(images: Path, root: Path) -> bool:
    """Whether other files are in the folder than when images.h5 was made from it.

    False where nobody wrote that down, where the folder is not there any more, and where every file has another inode:
    then it is a copy that kept sizes and stamps.
    """
    try:
        kept: dict[str, Any] = json.loads(images.with_name(BESIDE).read_text(encoding="utf-8"))
        before = {str(bucket): (str(own), str(exact)) for bucket, (own, exact) in kept["buckets"].items()}
        if kept["format"] != FORMAT or not before or not root.is_dir():
            return False
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False
    now = {bucket: (own, exact) for bucket, (own, exact) in listing(root).items()}
    if {bucket: own for bucket, (own, _) in now.items()} != {bucket: own for bucket, (own, _) in before.items()}:
        return True
    differing = [bucket for bucket in now if now[bucket] != before[bucket]]
    return 0 < len(differing) < len(now)
