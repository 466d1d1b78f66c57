"""What was read off source files at earlier starts, kept by the digest of their bytes.

Every start of a study reads some three hundred source files of this project, and parsing them takes seconds. What is
read off a file follows from its bytes, from the Python that parses it and from the code that reads it, so it is kept
under the three together and found again without parsing. Where nothing can be kept, or what was kept is damaged, files
are parsed as ever.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcoherence.files.atomic import write_text

OPERATIONAL = True  # no number depends on it; docs/reruns.md

MOST = 5000  # sources that are kept: a few hundred of each of the versions that somebody works on
SECONDS_UNUSED = 30 * 24 * 3600  # after which what other code or another Python kept is removed


class KnownSources:
    """What was read off sources, by their bytes; lists of text, numbers and lists, as JSON holds them.

    Args:
        folder: where it is kept; None keeps nothing.
        reader: the source files of the code that reads them.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     known = KnownSources(Path(folder), [Path(__file__)])
        ...     known.add(b"import os", ["os"])
        ...     known.keep()
        ...     again = KnownSources(Path(folder), [Path(__file__)])
        ...     again.of(b"import os"), again.of(b"import sys")
        (['os'], None)
    """

    def __init__(self, folder: Path | None, reader: Sequence[Path]) -> None:
        """Read what is kept there, if anything."""
        code = hashlib.sha256(b"".join(file.read_bytes() for file in reader)).hexdigest()[:16]
        python = f"{sys.implementation.name}{sys.version_info.major}.{sys.version_info.minor}"
        self._file = None if folder is None else folder / f"sources-{python}-{code}.json"
        self._kept = {} if self._file is None else _read(self._file)
        self._used: dict[str, Any] = {}
        self._new = False

    def of(self, source: bytes) -> Any:
        """What was read off a source; None where that is not known."""
        digest = _digest(source)
        found = self._kept.get(digest)
        if found is not None:
            self._used[digest] = found
        return found

    def add(self, source: bytes, found: Any) -> None:
        """Know what was read off a source."""
        digest = _digest(source)
        self._kept[digest] = self._used[digest] = found
        self._new = True

    def keep(self) -> None:
        """Keep for later starts what is new, where that is possible."""
        if self._file is None or not self._new:
            return
        others = [one for one in self._kept.items() if one[0] not in self._used]
        sources = dict(others[-max(0, MOST - len(self._used)) :] if len(self._used) < MOST else []) | self._used
        text = json.dumps(sources, separators=(",", ":"))
        with suppress(OSError):  # a full disk, a folder that is read only: then it is parsed again
            write_text(self._file, f"{_digest(text.encode())}\n{text}\n")
            for other in self._file.parent.glob("sources-*.json"):
                if time.time() - other.stat().st_mtime > SECONDS_UNUSED:
                    other.unlink()
        self._new = False


def folder_of_user() -> Path | None:
    """The folder in which a user's programs keep what they can make again: $XDG_CACHE_HOME, or .cache in the home."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (named if named.is_absolute() else Path.home() / ".cache") / "mcoherence"
    except RuntimeError:  # a user without a home
        return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(file: Path) -> dict[str, Any]:
    """What is kept in a file: nothing where it is missing, damaged or cannot be read."""
    try:
        seal, _, rest = file.read_bytes().partition(b"\n")
    except OSError:
        return {}
    text = rest.removesuffix(b"\n")
    if seal.decode("ascii", "replace") != _digest(text):
        return {}
    sources: dict[str, Any] = json.loads(text)
    return sources
