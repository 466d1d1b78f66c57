"""The one exception that stands for a user's mistake rather than a bug, and other errors in one line."""

import re
import site
import sysconfig
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

OPERATIONAL = True  # no number depends on it; docs/reruns.md


class UserError(Exception):
    """A mistake in the user's files or settings.

    Its message is one line that names the file or key, what was found, what was expected and the way out.
    Command-line entries print it without a traceback and exit with status 1.
    """


def printable(text: str) -> str:
    """A path or a message as it can be printed in one line: what is no letter as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without a point at its end; its kind where it says nothing."""
    return printable((str(error).splitlines() or [type(error).__name__])[0]).rstrip(".")


@dataclass(frozen=True)
class Place:
    """Where an error was raised: file, number of the line, function; `ours` where that is in this package."""

    file: Path
    line: int
    function: str
    ours: bool


def raised_at(error: BaseException) -> Place | None:
    """The last place that an error came through in code which is not installed: this project's own, or the user's.

    What is installed was called by one of the two. None where there is no such place.
    """
    root = Path(__file__).parents[1]
    ours = (root / "mcoherence", root / "workflow_scripts")
    frames = [(frame.filename, frame.lineno, frame.name) for frame in traceback.extract_tb(error.__traceback__)]
    if "DataLoader worker process" in str(error):  # it hands on what it raised as text, and no frames
        frames = re.findall(r'^ *File "(.*)", line (\d+), in (.*)$', str(error), re.MULTILINE)
    for name, line, function in reversed(frames):
        file = Path(name)
        if any(file.is_relative_to(one) for one in ours):
            if function != "__torch_function__":  # which hands on what torch was asked for
                return Place(file, int(line or 0), function, ours=True)
        elif not name.startswith("<") and not _is_installed(file):
            return Place(file, int(line or 0), function, ours=False)
    return None


def _is_installed(file: Path) -> bool:
    """Whether a file is of Python or of what was installed for it, wherever that is: for a whole system, say."""
    if {"site-packages", "dist-packages"} & set(file.parts):
        return True
    folders = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    return any(file.is_relative_to(folder) for folder in folders)


def with_kind(error: BaseException) -> str:
    """What an error says in a line, after its kind."""
    if "DataLoader worker process" in str(error):
        return printable(str(error).rstrip().splitlines()[-1])
    return f"{type(error).__name__}: {first_line(error)}" if str(error) else type(error).__name__


def in_own_code(error: BaseException) -> str:
    """What an error says, with its kind, and the place in the user's own code that it came through, if any."""
    place = raised_at(error)
    return with_kind(error) if place is None or place.ours else f"{with_kind(error)}, {place.file}:{place.line}"


def fault_of_own_code(error: BaseException) -> str | None:
    """Where a function of the user's own raised an error, in a line; None where it may be a bug of ours."""
    place = raised_at(error)
    if place is None or place.ours:
        return None
    return (
        f"{place.file}:{place.line}: found {with_kind(error)} in {place.function}, expected none; mend it, or what it "
        "is given"
    )


def meant(found: str, known: Iterable[str]) -> str:
    """The known name that is spelled nearly like the one found, as a question; empty where there is none.

    >>> meant("trainning", ["training", "models"])
    ' (did you mean training?)'
    >>> meant("SGD", ["sgd", "sgd_slow"])
    ' (did you mean sgd?)'
    >>> meant("lr", ["training", "models"])
    ''
    """
    names = {name.lower(): name for name in known if name != found}  # it was refused
    near = get_close_matches(found.lower(), names, n=1, cutoff=0.6)
    return f" (did you mean {names[near[0]]}?)" if near else ""
