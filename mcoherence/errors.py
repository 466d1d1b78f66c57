"""The one exception that stands for a user's mistake rather than a bug, and other errors in one line."""

from collections.abc import Iterable
from difflib import get_close_matches

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


def meant(found: str, known: Iterable[str]) -> str:
    """The known name that is spelled nearly like the one found, as a question; empty where there is none.

    >>> meant("trainning", ["training", "models"])
    ' (did you mean training?)'
    >>> meant("lr", ["training", "models"])
    ''
    """
    near = get_close_matches(found, known, n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""
