"""Progress of long loops: a bar on a terminal, a plain line now and then in a log file. Lengths of time in words."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

OPERATIONAL = True  # no number depends on it; docs/reruns.md

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 15.0


def progress(items: Iterable[T], total: int | None, description: str) -> Iterator[T]:
    """The items, with progress on standard error.

    A terminal gets tqdm's bar. A log file gets one line when the loop starts, at most one every 15 seconds, and one
    at the end, each a whole line, so that the log stays readable. Where `total` is None, nobody knows how many there
    are, and the time left is not said.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=description)
        return
    started = last = time.monotonic()
    print(f"{description}: 0/{'?' if total is None else total}", file=sys.stderr, flush=True)
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES or done == total:
            last = now
            meter = tqdm.format_meter(done, total, now - started, prefix=description, ncols=0)
            print(meter, file=sys.stderr, flush=True)


def time_in_words(seconds: float) -> str:
    """A length of time as one says it, in two units at most.

    Example:
        >>> [time_in_words(seconds) for seconds in (2.34, 40, 190, 4000, 200_000)]
        ['2.3 s', '40 s', '3 min 10 s', '1 h 7 min', '2 d 8 h']
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if round(seconds) < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"
