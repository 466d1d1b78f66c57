"""Where a result file comes from: settings, code, libraries, device and inputs, as attributes for the file."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import mcoherence
from mcoherence.files.digests import sha256_of
from mcoherence.files.seals import carried_seal

OPERATIONAL = True  # no number depends on it; docs/reruns.md

RECORDED_LIBRARIES = ("torch", "numpy", "h5py", "scikit-learn")


@dataclass(frozen=True)
class Provenance:
    """Where a result file says that it comes from.

    settings: of the rule, whole; its seeds are in it; inputs: path -> digest of each file that was read, see
    `digest_of`; git_commit: see `git_commit`; versions: library -> version; device: that the numbers were made on;
    fp32_precision: "ieee", or "tf32" where its matrix units might round the factors of float32 products.
    code: digest of the code that decides the numbers, the param `code` of the rule, see `mcoherence.study.code_digest`.
    That is "" where nobody said it: in files of versions that kept none, and of commands that were started by hand.
    """

    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    git_commit: str
    versions: Mapping[str, str]
    device: str
    fp32_precision: str = "ieee"
    code: str = ""

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> "Provenance":
        """That which attributes of a file hold, among others; KeyError if one but `code` is missing."""
        return cls(**{key: attributes[key] for key in KEYS if key != "code"}, code=str(attributes.get("code", "")))

    def as_attributes(self) -> dict[str, Any]:
        """Attributes for a file, by the names of the fields."""
        return {key: getattr(self, key) for key in KEYS}


KEYS = tuple(field.name for field in fields(Provenance))


def merged_provenance(parts: Sequence[Provenance]) -> Provenance:
    """That of a file which is put together from parts of the same settings, made on several machines maybe.

    The code is that of the parts; who puts them together by more code than that says so.
    """
    libraries = dict.fromkeys(name for one in parts for name in one.versions)  # not every machine has them all
    return Provenance(
        settings=parts[0].settings,
        inputs={path: digest for one in parts for path, digest in one.inputs.items()},
        git_commit=_each([one.git_commit for one in parts]),
        versions={name: _each([one.versions.get(name, "none") for one in parts]) for name in libraries},
        device=_each([one.device for one in parts]),
        fp32_precision=_each([one.fp32_precision for one in parts]),
        code=_each([one.code for one in parts]),
    )


def _each(values: Sequence[str]) -> str:
    """The value that all parts share, or each that was found."""
    return "; ".join(dict.fromkeys(values))


def provenance(
    settings: Mapping[str, Any],
    inputs: Iterable[Path],
    device: str = "cpu",
    fp32_precision: str = "ieee",
    *,
    code: str = "",
) -> Provenance:
    """What lets a reader trace a file: nothing in it changes between two runs of the same code and inputs.

    Args:
        settings: the settings object of the rule, whole; its seeds are in it.
        inputs: files read; each is recorded by path and digest, see `digest_of`.
        device: device the numbers were made on, such as "cpu" or "cuda (NVIDIA H200)".
        fp32_precision: what float32 products were there, see `mcoherence.precision.precision_name`.
        code: digest of the code that makes the file.
    """
    digests = {str(path): digest_of(path) for path in inputs}
    return Provenance(dict(settings), digests, git_commit(), versions(), device, fp32_precision, code)


def digest_of(path: Path) -> str:
    """What a result file records of one that it was made from: the digest that the input carries of its own content.

    It is read from the beginning or end of the file, so that thousands of large checkpoints can be asked, and is marked
    "seal:". Of a file that carries none it is the SHA-256 of its bytes, in hexadecimal.
    """
    return carried_seal(path) or sha256_of(path)


def versions() -> dict[str, str]:
    """Versions of Python, of the libraries that decide numbers, and of this package; what is not there decides none."""
    found = {one.name: one.version for one in map(_distribution, RECORDED_LIBRARIES) if one is not None}
    return {"python": platform.python_version(), "mcoherence": mcoherence.__version__} | found


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str:
    """The commit of the code that runs, "+changes" appended where tracked files differ from it, or "unknown".

    Unknown where this package is installed; the repository around it then, if there is one, is somebody else's.
    """
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():  # a folder, or a file in a second worktree
        return "unknown"
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
    except OSError:  # there is no git
        return "unknown"
    return answer.stdout.strip() or "unknown"
