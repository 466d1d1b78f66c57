"""What was read off source files at earlier starts, kept by the digest of their bytes.

Every start of a study reads some three hundred source files of this project, and parsing them takes a second. What is
read off a file follows from its bytes, from the Python that parses it and from the code that reads it. So it is kept
under the three together and found again without parsing. Where nothing can be kept, or what was kept is damaged, files
are parsed as ever.
"""

import hashlib
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcoherence.files.atomic import write_text

OPERATIONAL = True  # no number depends on it; docs/reruns.md

MOST = 5000  # sources that are kept: a few hundred of each of the versions that somebody works on
SECONDS_KEPT = 30 * 24 * 3600  # since something new was kept, after which others remove it


class KnownSources:
    """What was read off sources, by their bytes; lists of text, numbers and lists, as JSON holds them.

    Args:
        folder: where it is kept; None keeps nothing.
        reader: the code that reads them, as it runs.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     known = KnownSources(Path(folder), b"version 1")
        ...     known.add(b"import os", ["os"])
        ...     known.keep()
        ...     again = KnownSources(Path(folder), b"version 1")
        ...     again.of(b"import os"), again.of(b"import sys")
        (['os'], None)
    """

    def __init__(self, folder: Path | None, reader: bytes) -> None:
        """Read what is kept there, if anything."""
        python = f"{sys.implementation.name}{sys.hexversion:08x}"
        name = f"sources-{python}-{_digest(reader)[:16]}.json"
        self._file = None if folder is None else folder / name
        self._kept = {} if self._file is None else _contents(self._file)
        self._used: dict[str, Any] = {}
        self._is_new = False

    def of(self, source: bytes) -> Any:
        """What was read off a source; None where that is not known."""
        digest = _digest(source)
        found = self._kept.get(digest)
        if found is not None:
            self._used[digest] = found
        return found

    def add(self, source: bytes, facts: Any) -> None:
        """Know what was read off a source."""
        digest = _digest(source)
        self._kept[digest] = self._used[digest] = facts
        self._is_new = True

    def keep(self) -> None:
        """Write what is new for later starts, where that is possible, beside what other starts wrote meanwhile."""
        if self._file is None or not self._is_new:
            return
        others = {key: facts for key, facts in (self._kept | _contents(self._file)).items() if key not in self._used}
        room = max(0, MOST - len(self._used))
        sources = dict(list(others.items())[max(0, len(others) - room) :]) | self._used
        text = json.dumps(sources, separators=(",", ":"))
        with suppress(OSError):  # a full disk, a folder that is read only: then it is parsed again
            write_text(self._file, f"{_digest(text.encode())}\n{text}\n")
            for other in self._file.parent.glob("sources-*.json"):
                if time.time() - other.stat().st_mtime > SECONDS_KEPT:
                    other.unlink()
        self._is_new = False


def folder_of_user() -> Path | None:
    """The folder in which a user's programs keep what they can make again: $XDG_CACHE_HOME, or .cache in the home."""
    named, home = Path(os.environ.get("XDG_CACHE_HOME", "")), Path(os.environ.get("HOME", ""))
    if named.is_absolute():
        return named / "mcoherence"
    return home / ".cache" / "mcoherence" if home.is_absolute() and home.is_dir() else None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _contents(file: Path) -> dict[str, Any]:
    """What is kept in a file: nothing where it is missing, damaged, of another kind or cannot be read."""
    try:
        if not file.is_file():
            return {}
        seal, _, rest = file.read_bytes().partition(b"\n")
        text = rest.removesuffix(b"\n")
        kept = json.loads(text) if seal.decode("ascii", "replace") == _digest(text) else None
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}
