"""Snakemake's command line in a process that has imported it, for the many tests that only ask for a plan.

Reads a line of JSON for every command, (working directory, arguments, file for the output), runs it in a fork of this
process and answers with its exit status. Importing Snakemake, and what it and the workflow import when they need it,
is half of what a plan takes; most of the rest is to read the code that its digests are of. That of the files which a
copy of the workflow shares with its origin is read once, and found again by the bytes of a file.
"""

import hashlib
import json
import os
import sys
from dataclasses import astuple
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from snakemake.cli import main

ROOT = Path(__file__).parents[2]
READING = "mcoherence.study.code_digest"
LATER = (
    "snakemake.profiles", "snakemake.report.html_reporter", "snakemake.storage", "h5py", "jsonschema", "pandas",
    "PIL.Image", "pygments.formatters", "pygments.lexers",
)  # fmt: skip


def digests_of(folder: Path) -> ModuleType:
    """The module that reads code, of the workflow in this folder, which this process has not imported before."""
    sys.path.insert(0, str(folder))
    return import_module(READING)


def key_of(file: Path) -> tuple[bool, str]:
    """What the reading of a file of code hangs on."""
    return file.name == "__init__.py", hashlib.sha256(file.read_bytes()).hexdigest()


def read_all() -> dict[tuple[bool, str], tuple[object, ...]]:
    """What is read of every file of code of the origin."""
    code_digest = digests_of(ROOT)
    files = [file for package in ("mcoherence", "workflow_scripts") for file in (ROOT / package).rglob("*.py")]
    known = {key_of(file): astuple(code_digest._read(file)) for file in files}
    sys.path.remove(str(ROOT))
    for name in [name for name in sys.modules if name.partition(".")[0] == "mcoherence"]:
        del sys.modules[name]  # of the copies, which are edited, every process imports its own
    return known


def use(known: dict[tuple[bool, str], tuple[object, ...]], folder: Path) -> None:
    """Have the workflow in this folder look into what is known, if it reads code as the origin does."""
    place = READING.replace(".", "/") + ".py"
    if not (folder / place).exists() or key_of(folder / place) != key_of(ROOT / place):
        return
    code_digest = digests_of(folder)
    read = code_digest._read_version

    @cache
    def read_version(file: Path, modified: int) -> object:
        found = known.get(key_of(file))
        return read(file, modified) if found is None else code_digest._Source(*found)

    code_digest._read_version = read_version


if __name__ == "__main__":
    for module in LATER:
        import_module(module)
    known = read_all()
    for line in sys.stdin:
        folder, arguments, said = json.loads(line)
        if child := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        os.chdir(folder)
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.flush()
            os.dup2(output, number)
        use(known, Path(folder))
        sys.argv = ["snakemake", *arguments]
        main()  # which leaves
