"""What the files of a job say that made them, beside what would make them now."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from mcoherence.audit.changes import changes
from mcoherence.audit.origins import Origins, says_its_origin
from mcoherence.errors import UserError

UNKNOWN = "damaged, or says not what made it"
IN_PARTS = re.compile(r"/runs/(?:[^/]+/){5}seed\d+/parts/")  # settings and code name the folders of parts
MOST_REASONS, MOST_RULES = 6, 4  # that are named before the rest is counted


@dataclass(frozen=True)
class Job:
    """A job as Snakemake would run it: files, settings as one text, and digest of the code."""

    rule: str
    outputs: Sequence[str]
    inputs: Sequence[str]
    settings: str
    code: str


@dataclass(frozen=True)
class Told:
    """What an output says: the settings and the code that made it, and what is wrong with what it was made from."""

    settings: str
    code: str
    complaints: tuple[str, ...]


def told_by(job: Job, origins: Origins, results: Path) -> dict[str, Told]:
    """Output that is there and says what made it -> what it says. Parts are left out."""
    told: dict[str, Told] = {}
    complaints: dict[int, tuple[str, ...]] = {}  # by the inputs, which outputs of a job mostly share
    for path in job.outputs:
        if IN_PARTS.search(path) or not says_its_origin(path) or origins.version(path) is None:
            continue
        origin = origins.of(path)
        if origin is None:
            told[path] = Told("", "", (UNKNOWN,))
            continue
        if id(origin.inputs) not in complaints:
            complaints[id(origin.inputs)] = tuple(_wrong_inputs(job, origin.inputs, origins, results))
        told[path] = Told(origin.settings, origin.code, complaints[id(origin.inputs)])
    return told


def _wrong_inputs(job: Job, recorded: Mapping[str, str], origins: Origins, results: Path) -> Iterable[str]:
    made_from = {below(results, name): digest for name, digest in recorded.items()}
    for path, digest in made_from.items():
        if origins.version(path) is not None and _differs(path, digest, origins):
            yield f"made from another {path} than is there now"
    asked = {path for path in job.inputs if says_its_origin(path) and not IN_PARTS.search(path)}
    yield from (f"made without {path}" for path in sorted(asked - made_from.keys())[:1])
    yield from (f"made from {path} besides" for path in sorted(made_from.keys() - asked)[:1])


def _differs(path: str, digest: str, origins: Origins) -> bool:
    try:
        return origins.digest(path) != digest
    except (OSError, UserError):
        return True  # the job that reads it will say why it cannot


@cache
def below(results: Path, name: str) -> str:
    """The path of an input: what lies in the study's folder is found there under whatever name the study had then."""
    parts = PurePosixPath(name).parts
    return str(results.joinpath(*parts[2:])) if parts[:1] == ("results",) else name


def misfit(job: Job, told: Told) -> str:
    """Why an output is not what the job would make now, in a few words; "" where it is."""
    if told.settings and told.settings != job.settings:  # which explains other inputs
        found = changes(json.loads(told.settings), json.loads(job.settings))
        return _and_more([str(change) for change in found] or ["made by other settings"])
    if told.complaints:
        return _and_more(told.complaints)
    return "" if told.code == job.code else "made by other code"


def _and_more(reasons: Sequence[str]) -> str:
    return reasons[0] + (f" and {len(reasons) - 1} more" if len(reasons) > 1 else "")


def in_words(misfits: Iterable[tuple[str, str, int]], runs: bool = True) -> str:
    """A paragraph that says which files are made again, and why; "" where none is.

    Args:
        misfits: rule, reason and number of files of each job that has files which do not fit.
        runs: whether Snakemake heeds it.
    """
    files: Counter[tuple[str, str]] = Counter()
    for rule, reason, number in misfits:
        files[(rule, reason)] += number
    if not files:
        return ""
    by_reason: dict[str, list[str]] = {}
    for (rule, reason), number in files.items():
        by_reason.setdefault(reason, []).append(f"{rule} {number}")
    total = sum(files.values())
    lines = [f"    {reason} ({_some(rules)})" for reason, rules in by_reason.items()]
    more = len(lines) - MOST_REASONS
    lines = lines[:MOST_REASONS] + ([f"    and {more} more reasons"] if more > 0 else [])
    what = "1 file is not what would be made" if total == 1 else f"{total} files are not what would be made"
    then = "made again, with all that follows" if runs else "kept all the same, as --rerun-triggers leaves out params"
    return "\n".join([f"{what} now, and {'is' if total == 1 else 'are'} {then}; why, and files by rule:", *lines])


def _some(rules: Sequence[str]) -> str:
    more = len(rules) - MOST_RULES
    return ", ".join(rules[:MOST_RULES]) + (f" and {more} more rules" if more > 0 else "")
