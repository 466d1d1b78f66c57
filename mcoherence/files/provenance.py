"""Where a result file comes from: settings, code, libraries, device and inputs, as attributes for the file."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mcoherence.files.storage import digest_of

RECORDED_LIBRARIES = ("torch", "numpy", "h5py", "scikit-learn")


def provenance(settings: Mapping[str, Any], inputs: Iterable[Path], device: str = "cpu") -> dict[str, Any]:
    """Attributes that let a reader trace a file: nothing in them changes between two runs of the same code and inputs.

    Args:
        settings: the settings object of the rule, whole; its seeds are in it.
        inputs: files read; each is recorded by path and digest, see `storage.digest_of`.
        device: device the numbers were made on, such as "cpu" or "cuda (NVIDIA H200)".
    """
    return {
        "settings": dict(settings),
        "inputs": {str(path): digest_of(path) for path in inputs},
        "git_commit": git_commit(),
        "versions": versions(),
        "device": device,
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide numbers, by name."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in RECORDED_LIBRARIES
    }


def git_commit() -> str:
    """The commit of the code that runs, "+changes" appended where tracked files differ from it, or "unknown"."""
    here = Path(__file__).resolve().parent
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    answer = subprocess.run(
        ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    return answer.stdout.strip() or "unknown"
