"""Why Snakemake would run its jobs: what changed since each ran last, in words.

A file says which settings and code made it. Of those that cannot, and of inputs, Snakemake keeps a record: its params,
among them the canonical settings and the digest of the code, and its inputs. Which modules a digest stands for is
written down when Snakemake starts, in the study's folder `code`, one file per digest.
"""

import ast
import json
import os
import re
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcoherence.audit.changes import changes
from mcoherence.files.atomic import write_text
from mcoherence.files.digests import SHORT_DIGEST

Modules = Mapping[str, str]
"""Module -> digest of its code, see `mcoherence.study.code_digest.module_digests`."""

MOST_NAMED = 3  # files of one kind that are named before the rest is counted
CHECK = re.compile("/checks/[^/]+/[^/]+/[^/]+.json$")  # the file of a check of a network


@dataclass(frozen=True)
class PlannedJob:
    """A job that Snakemake would run.

    settings: those it would be given.
    modules: the code that it would run.
    digests: the digests of that code, as among the params of its rule.
    reason: Snakemake's own words.
    """

    rule: str
    output: Sequence[str]
    input: Sequence[str]
    settings: Mapping[str, Any]
    modules: Modules
    digests: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class LastRun:
    """What made an output that is there: settings (None where they are not on record), code digests and inputs."""

    settings: Mapping[str, Any] | None
    digests: tuple[str, ...]
    input: frozenset[str]


def last_run(output: str, metadata: Path) -> LastRun | None:
    """Snakemake's record of what made a file, or None where it has none that can be read.

    Args:
        output: path of the file, as rules write it.
        metadata: the folder `.snakemake/metadata`.
    """
    try:
        record = json.loads(_record_path(output, metadata).read_text(encoding="utf-8"))
        params = [ast.literal_eval(param) for param in record.get("params") or [] if settings_or_code(param)]
        settings = next((json.loads(param) for param in params if param.startswith("{")), None)
        code = "".join(param for param in params if not param.startswith("{"))
        return LastRun(settings, digests_in(code), frozenset(record.get("input") or []))
    except (OSError, ValueError, SyntaxError, AttributeError, TypeError):  # none, or a damaged one
        return None


def settings_or_code(param: str) -> bool:
    """Whether a param in Snakemake's record is the settings or the code of its rule.

    Params stand there without their names, as Python writes them: settings are an object, code is of digests alone.
    """
    return param[:2] in ("'{", '"{') or re.fullmatch(f"'([0-9a-f]{{{SHORT_DIGEST}}})+'", param) is not None


def digests_in(code: str) -> tuple[str, ...]:
    """The digests that a param `code` is put together from."""
    return tuple(code[i : i + SHORT_DIGEST] for i in range(0, len(code), SHORT_DIGEST))


def _record_path(output: str, metadata: Path) -> Path:
    """Where Snakemake keeps the record of a file: the name in base64, in folders where it is too long for one name."""
    name = urlsafe_b64encode(output.encode()).decode()
    longest = os.pathconf(metadata, "PC_NAME_MAX") - 1 if metadata.is_dir() else 254
    *folders, last = [name[i : i + longest] for i in range(0, len(name), longest)]
    return metadata.joinpath(*(f"@{folder}" for folder in folders), last)


def record_code(folder: Path, digest: str, modules: Modules) -> None:
    """Keep which modules a code digest stands for, in a file of its name; no result depends on that file."""
    path = folder / f"{digest}.json"
    if not path.exists():
        write_text(path, json.dumps(modules, sort_keys=True) + "\n")


def recorded_code(folder: Path, digests: Iterable[str]) -> dict[str, str] | None:
    """The modules that code digests stand for together, or None where one of them is not on record."""
    modules: dict[str, str] = {}
    for digest in digests:
        try:
            modules |= json.loads((folder / f"{digest}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            return None
    return modules


def causes(
    job: PlannedJob,
    last: LastRun | None,
    modules_then: Modules | None,
    missing: Sequence[str],
    complaints: Sequence[str] = (),
) -> list[str]:
    """What changed for one job by itself, a line each; none where it runs only because another job does.

    Args:
        job: the job.
        last: what made its outputs, None where that is not on record.
        modules_then: the modules that `last.digests` stand for, None where they are not on record.
        missing: the outputs of the job that are not there.
        complaints: what is wrong with the files that its outputs say they were made from.
    """
    lines: list[str] = []
    if last is None:
        lines += complaints
        if not lines and len(missing) == len(job.output):
            return ["never made before"]
        lines += ["no record of how its files were made"] if not lines and "metadata" in job.reason else []
    elif missing:
        lines.append(f"missing: {_some(missing)}")
    if last is not None:
        settings = [str(change) for change in changes(last.settings or {}, job.settings)]
        lines += settings + _code_changes(job, last, modules_then)
        if not settings:  # other settings explain other inputs
            before, now = (
                {path for path in inputs if not CHECK.search(path)} for inputs in (last.input, job.input)
            )  # training waits for a check, and is not made from it
            added, removed = now - before, before - now
            lines += [f"another input: {_some(sorted(added))}"] if added else []
            lines += [f"an input less: {_some(sorted(removed))}"] if removed else []
            lines += [] if added or removed else complaints
    updated = re.search(r"Updated input files: ([^;]+)", job.reason)
    lines += [f"newer input: {_some(updated[1].strip().split(', '))}"] if updated else []
    lines += ["the command of the rule was edited"] if "Code has changed" in job.reason else []
    for words in ("Forced execution", "Incomplete output files", "Software environment definition has changed"):
        lines += [words[0].lower() + words[1:]] if words.lower() in job.reason.lower() else []
    if not lines and "Params have changed" in job.reason:
        lines.append("another param of the rule")
    return lines


def _code_changes(job: PlannedJob, last: LastRun, then: Modules | None) -> list[str]:
    if job.digests == last.digests:
        return []
    if then is None:
        return ["code edited, or another version of it; which modules is not on record"]
    now = job.modules
    edited = sorted(name for name in now.keys() & then.keys() if now[name] != then[name])
    lines = [f"code edited: {', '.join(edited)}"] if edited else []
    added, removed = sorted(now.keys() - then.keys()), sorted(then.keys() - now.keys())
    lines += [f"code imported besides: {', '.join(added)}"] if added else []
    lines += [f"code no longer imported: {', '.join(removed)}"] if removed else []
    return lines


def _some(files: Sequence[str]) -> str:
    more = len(files) - MOST_NAMED
    return ", ".join(files[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def explain(jobs: Sequence[tuple[PlannedJob, Sequence[str]]]) -> str:
    """A text for people: the jobs with causes of their own, by rule and cause, and then those that follow from them.

    Args:
        jobs: every planned job, in the order of the workflow, with its `causes`.
    """
    if not jobs:
        return "Nothing would run: every file is there, and nothing that it depends on has changed.\n"
    groups = Counter((job.rule, tuple(lines)) for job, lines in jobs if lines)
    following = Counter(job.rule for job, lines in jobs if not lines)
    text = [f"{_jobs(len(jobs))} would run."]
    by_cause: dict[tuple[str, ...], list[str]] = {}
    for (rule, lines), number in groups.items():
        by_cause.setdefault(lines, []).append(f"{rule} ({number})")
    for lines, rules in by_cause.items():
        text += ["", ", ".join(sorted(rules)), *(f"    {line}" for line in lines)]
    if following:
        names = ", ".join(f"{rule} ({number})" for rule, number in sorted(following.items()))
        text += ["", names, "    only because jobs above make their input again"]
    return "\n".join(text) + "\n"


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"
