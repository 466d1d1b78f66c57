"""Progress of long loops: a bar on a terminal, a plain line now and then in a log file."""

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
