"""What a result file says of its origin, whatever its kind, and its digest; each version of a file is read once."""

import errno
import html
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from mcoherence.errors import UserError
from mcoherence.files.atomic import atomic_path
from mcoherence.files.canonical import canonical_json
from mcoherence.files.digests import short_digest
from mcoherence.files.faults import REMEDY, FileFaultError, UnreadableError
from mcoherence.files.hdf5 import read_attributes
from mcoherence.files.json_csv import read_sealed_json
from mcoherence.files.provenance import Provenance, digest_of
from mcoherence.files.seals import IN_JSON, IN_METADATA, OPEN, SEAL, require_seal, sealed, sealed_header

FORMAT = "mcoherence/origins/3"
IN_A_PAGE = re.compile('<p hidden id="provenance">(.*?)</p>', re.DOTALL)


class NoOriginError(UserError):
    """A file is as it was written, and does not say what made it: an earlier version wrote it, or one by hand."""


def read_provenance(path: str | os.PathLike[str]) -> Provenance:
    """What a result file says of itself.

    Raises:
        NoOriginError: it says nothing, and carries a right seal.
        UserError: it is missing, damaged, of another kind, or cannot be read now.
    """
    path = Path(path)
    try:
        read = READERS[path.suffix]
        try:
            return read(path)
        except KeyError as error:  # readers look at the seal first
            raise NoOriginError(
                f"{path}: found nothing in it of what made it (no {error}), expected settings, code and inputs; make "
                "it again by this version"
            ) from error
    except NoOriginError:
        raise
    except (OSError, LookupError, TypeError, ValueError, AttributeError, UserError) as error:
        passing = _passing(error)
        if passing is None and path.is_dir():  # HDF5 gives that no number
            passing = IsADirectoryError(errno.EISDIR, "Is a directory")
        if passing is not None:
            raise UnreadableError(path, passing.strerror or repr(passing)) from passing
        reason = str(error).removeprefix(f"{path}: ") or repr(error)
        raise FileFaultError(path, f"missing, damaged or not a result file ({reason})", REMEDY) from error


@cache
def says_its_origin(path: str) -> bool:
    """Whether a file is of a kind that says what made it, by its name."""
    name = path.rpartition("/")[2]
    suffix = f".{name.rpartition('.')[2]}"
    return suffix in READERS and (suffix not in (".json", ".html") or name in ("claims.json", "study.html"))


def _of_hdf5(path: Path) -> Provenance:
    found = read_attributes(path)
    return Provenance.from_attributes(
        found | {key: json.loads(found[key]) for key in ("settings", "inputs", "versions")}
    )


def _of_weights(path: Path) -> Provenance:
    """Of a checkpoint or a state; its header alone is read, and it must be as long as that says."""
    header = sealed_header(path)
    described = json.loads(header[8:])
    metadata = described.pop("__metadata__")
    if path.stat().st_size != len(header) + max((one["data_offsets"][1] for one in described.values()), default=0):
        raise ValueError("cut off")
    if "provenance" in metadata:
        return _parsed(metadata["provenance"])
    return Provenance.from_attributes(json.loads(metadata["state"])["provenance"])


@lru_cache(maxsize=8)
def _parsed(text: str) -> Provenance:
    """The provenance of this text; the checkpoints of a job share theirs."""
    return Provenance.from_attributes(json.loads(text))


def _of_table(path: Path) -> Provenance:
    from mcoherence.files.tables import provenance_of_table  # needs pandas, which takes a second to import

    return provenance_of_table(path)


def _of_figure(path: Path) -> Provenance:
    from mcoherence.files.pictures import picture_texts

    return Provenance.from_attributes(json.loads(picture_texts(path)["Provenance"]))


def _of_claims(path: Path) -> Provenance:
    return Provenance.from_attributes(read_sealed_json(path, REMEDY)["provenance"])


def _of_page(path: Path) -> Provenance:
    content = path.read_bytes()
    require_seal(content, IN_METADATA)
    found = IN_A_PAGE.search(content.decode())
    if found is None:
        raise ValueError("no provenance in it")
    return Provenance.from_attributes(json.loads(html.unescape(found[1])))


READERS: dict[str, Callable[[Path], Provenance]] = {
    ".h5": _of_hdf5,
    ".hdf5": _of_hdf5,
    ".safetensors": _of_weights,
    ".parquet": _of_table,
    ".png": _of_figure,
    ".json": _of_claims,
    ".html": _of_page,
}


def _passing(error: BaseException) -> OSError | None:
    """Why a file could not be read, where that is not in the file: it is locked, say, or may not be read."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno not in (None, errno.ENOENT, errno.EINVAL):
            return cause
        cause = cause.__cause__
    return None


@dataclass(frozen=True)
class Origin:
    """What made a file: its settings as one text, the digest of the code, and path -> digest of each input."""

    settings: str
    code: str
    inputs: Mapping[str, str]


class Origins:
    """Origins and digests of files, kept in a file from one start to the next.

    What was read counts as long as size, times of change and place on the disk of a file are the same; a copy of it,
    and one whose time stamp was set back, is read again. To lose the kept file costs time only.
    """

    def __init__(self, kept: Path) -> None:
        """With what `kept` holds, if it is such a file and whole."""
        self._kept = kept
        # Short digest -> what many files share.
        self._settings: dict[str, str] = {}
        self._inputs: dict[str, dict[str, str]] = {}
        self._files: dict[str, dict[str, Any]] = {}
        self._changed = False
        self._now: dict[str, list[int] | None] = {}
        self._digests: dict[str, str] = {}
        self._last: tuple[Provenance | None, dict[str, str]] = (None, {})
        try:
            written = kept.read_bytes()
            require_seal(written, IN_JSON)  # or a flipped bit there would make whole files look stale
            content = json.loads(written)
            if content["format"] == FORMAT:
                self._settings, self._inputs = dict(content["settings"]), dict(content["inputs"])
                self._files = dict(content["files"])
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def version(self, path: str) -> list[int] | None:
        """What changes when the file does, None where there is no file; looked up once, at the first question."""
        if path not in self._now:
            try:
                status = Path(path).stat()
            except OSError:
                self._now[path] = None
            else:
                self._now[path] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        return self._now[path]

    def of(self, path: str) -> Origin | None:
        """What made a file that is there; None where it is damaged or does not say it.

        Raises:
            UserError: the file cannot be read now, which says nothing of what is in it.
        """
        entry = self._entry(path)
        if "settings" not in entry:
            self._changed = True
            try:
                found = read_provenance(Path(path))
            except UserError as error:
                passing = _passing(error)
                if passing is not None:
                    raise
                entry |= {"settings": None}
            else:
                entry |= self._shared(found) | {"code": found.code}
        if entry["settings"] is None:
            return None
        return Origin(self._settings[entry["settings"]], entry["code"], self._inputs[entry["inputs"]])

    def _shared(self, found: Provenance) -> dict[str, str]:
        """The digests of settings and inputs, which are kept once; those of one provenance are worked out once."""
        if found is not self._last[0]:
            settings, inputs = canonical_json(found.settings), canonical_json(found.inputs)
            digests = {"settings": short_digest(settings), "inputs": short_digest(inputs)}
            self._settings[digests["settings"]] = settings
            self._inputs.setdefault(digests["inputs"], dict(found.inputs))
            self._last = found, digests
        return self._last[1]

    def digest(self, path: str) -> str:
        """The `digest_of` a file that is there; OSError where it cannot be read. Asked for again and again."""
        if path not in self._digests:
            entry = self._entry(path)
            if "digest" not in entry:
                self._changed = True
                entry["digest"] = digest_of(Path(path))
            self._digests[path] = str(entry["digest"])
        return self._digests[path]

    def _entry(self, path: str) -> dict[str, Any]:
        """What is known of the file as it is now."""
        version = self.version(path)
        entry = self._files.get(path)
        if not isinstance(entry, dict) or entry.get("version") != version or not self._is_whole(entry):
            entry = self._files[path] = {"version": version}
        return entry

    def _is_whole(self, entry: Mapping[str, Any]) -> bool:
        """Whether all that an entry names is there."""
        if entry.get("settings") is None:
            return True
        return entry["settings"] in self._settings and entry.get("inputs") in self._inputs and "code" in entry

    def keep(self) -> None:
        """Write down what was read since, without what is gone; another start at the same time may do so as well."""
        if not self._changed:
            return
        files = {path: entry for path, entry in self._files.items() if self.version(path) == entry["version"]}
        content: dict[str, Any] = {"format": FORMAT, "files": files}
        for name, shared in (("settings", self._settings), ("inputs", self._inputs)):
            used = {entry.get(name) for entry in files.values()}
            content[name] = {digest: one for digest, one in shared.items() if digest in used}
        try:
            with atomic_path(self._kept) as temporary:
                temporary.write_bytes(sealed(json.dumps(content | {SEAL: OPEN}).encode(), IN_JSON))
        except OSError:
            return  # a folder that may only be read
        self._changed = False
