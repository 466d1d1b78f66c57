"""A job runs the code and the settings that its study started with, or not at all.

A study may take days, and code and config may be edited meanwhile. Most jobs are processes of their own, which read
the code when they start; those of SLURM and of groups read the workflow and the config as well. What they made after an
edit would be told to be of the code of before. So a study writes down at its start what it started with, and

- a process of a job compares each module that it imports with that, as it imports it (`install`),
- a job that parses the workflow compares the config, the rules and the modules of the workflow (`check_parsed`).

Taken back in time, an edit does no harm. Comments and operational modules may be edited at any time. A command that is
started by hand knows of no start and compares nothing. Nothing heavy is imported.
"""

import hashlib
import io
import json
import os
import sys
import tokenize
from collections.abc import Mapping, MutableMapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from mcoherence.files.atomic import write_text

OPERATIONAL = True  # no number depends on it; docs/reruns.md

VARIABLE = "MCOHERENCE_STARTED"  # of the environment: the file that says what the study started with
LATEST = "started.json"
MOST_KEPT = 20  # of the notes of earlier starts
WAY_OUT = (
    "expected what the study started with, so that every file is made by what it says; take the edit back, or let the "
    "study end and start it again; to work meanwhile, take a second clone"
)


class Edited(SystemExit):
    """The code of a job is not that which its study started with; leaves with one line."""

    def __init__(self, what: str) -> None:
        """Of the module or file that was edited."""
        super().__init__(f"error: {what}: edited since the study started; {WAY_OUT}")


def write_start(
    folder: Path, modules: Mapping[str, tuple[str, Path]], rules: Mapping[Path, str], config: Mapping[str, Any],
    environment: MutableMapping[str, str] = os.environ,
) -> None:  # fmt: skip
    """Write down what a study starts with, and tell its jobs where.

    Args:
        folder: for files of this kind.
        modules: module -> digest of its code, and its file.
        rules: the files of the workflow, with their digests when they were read.
        config: what results depend on.
        environment: of the jobs.

    Raises:
        Edited: a module is not what its digest was taken of.
    """
    known: dict[str, list[str]] = {}
    for name, (digest, file) in sorted(modules.items()):
        source = file.read_bytes()
        check_source(name, source, digest, "")  # it may have been edited since the digest was taken
        known[name] = [digest, _sha256(source)]
    content = {"modules": known, "rules": {str(file.resolve()): rules[file] for file in rules}, "config": config}
    text = json.dumps(content, sort_keys=True)
    # Of a name that another start beside this one does not overwrite, and for jobs that have another environment.
    own = folder / f"started-{_sha256(text.encode())[:16]}.json"
    for path in (own, folder / LATEST):
        write_text(path, text)
    environment[VARIABLE] = str(own.resolve())
    others = sorted(folder.glob("started-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[MOST_KEPT:]:
        path.unlink(missing_ok=True)


def start_of_jobs(folder: Path, environment: MutableMapping[str, str] = os.environ) -> dict[str, Any] | None:
    """What the study of this job started with, which its commands hear of too; None where nothing is known of that."""
    for path in (environment.get(VARIABLE), folder / LATEST):
        if path is not None and (start := _read(path)) is not None:
            environment[VARIABLE] = str(Path(path).resolve())
            return start
    return None


def check_rules_and_modules(start: Mapping[str, Any], loaded: Mapping[str, ModuleType]) -> None:
    """Check what a job has read of the workflow.

    Args:
        start: what its study started with.
        loaded: the modules that are imported.

    Raises:
        Edited: one of them, or a file of rules, is not what it was.
    """
    for file, digest in start["rules"].items():
        if Path(file).exists() and rules_digest(Path(file)) != digest:
            raise Edited(os.path.relpath(file))
    for name, (digest, sha256) in start["modules"].items():
        file = getattr(loaded.get(name), "__file__", None)
        if file is not None:
            check_source(name, Path(file).read_bytes(), digest, sha256)


def check_config(start: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Edited, naming a key, unless this config asks for the results that the study started with."""
    if start["config"] != config:
        from mcoherence.audit.changes import changes

        raise Edited(f"the config ({'; '.join(map(str, changes(start['config'], config)[:3])) or 'its order'})")


def check_source(name: str, source: bytes, digest: str, sha256: str) -> None:
    """Edited unless a module's source has these digests, of its code or at least of its bytes."""
    if _sha256(source) == sha256:
        return
    from mcoherence.study.code_digest import digest_of_source

    try:
        same = digest_of_source(source) == digest
    except (SyntaxError, ValueError):
        same = False
    if not same:
        raise Edited(name)


def rules_digest(file: Path) -> str:
    """Digest of a file of rules without comments and empty lines."""
    source = file.read_text(encoding="utf-8")
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):
        return _sha256(source.encode())
    kept = [(token.type, token.string) for token in tokens if token.type not in (tokenize.COMMENT, tokenize.NL)]
    return _sha256(repr(kept).encode())


def install(environment: Mapping[str, str] = os.environ) -> None:
    """Compare every module that this process imports from now on, if it is a job of a study that is known."""
    path = environment.get(VARIABLE)
    start = _read(path) if path and "snakemake" not in sys.modules else None
    if start is not None and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(start["modules"]))


class _Finder:  # its base, in importlib.abc, imports archives and temporary files: 8 ms in every job
    """Finds modules as Python does, with a loader that compares those whose code decides numbers."""

    def __init__(self, modules: Mapping[str, Sequence[str]]) -> None:
        self._modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that is to be compared; others are left to Python."""
        if fullname not in self._modules:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path, self._modules[fullname])
        return spec


class _Loader(SourceFileLoader):
    """Loads a module from the very bytes that it has compared, and never from a cache: that goes by time stamps."""

    def __init__(self, fullname: str, path: str, digests: Sequence[str]) -> None:
        super().__init__(fullname, path)
        self._digests = digests

    def get_code(self, fullname: str) -> CodeType:
        """The code of the module; Edited where it is not that of the start."""
        path = self.get_filename(fullname)
        source = self.get_data(path)
        check_source(fullname, source, *self._digests)
        code: CodeType = self.source_to_code(source, path)
        return code


def _read(path: str | Path) -> dict[str, Any] | None:
    try:
        start: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        return start if {"modules", "rules", "config"} <= start.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
