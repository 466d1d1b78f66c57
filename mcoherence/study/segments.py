"""When a run is saved, and the segments that its training is done in: pure functions of its settings.

Neither a checkpoint nor a segment depends on how long training lasts in all, so that more updates only add some. This
module is read when Snakemake parses the workflow, so it imports nothing heavy.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, takewhile
from typing import Any

Config = Mapping[str, Any]


def checkpoint_schedule(updates: int, every_step_until: int, per_doubling: int, every: int | None = None) -> list[int]:
    """Ascending numbers of updates, at most `updates`, after which every run is saved, whatever its segments are.

    Whether a number belongs to the schedule does not depend on `updates`, so that longer training moves no checkpoint.

    Args:
        updates: number of updates of the run.
        every_step_until: 0, 1, ..., every_step_until all belong to it.
        per_doubling: from there on, this many to each doubling, evenly spaced on a log axis.
        every: once that spacing would exceed this number of updates, its multiples instead; None: log-spaced for ever.
    """
    steps = _endless_schedule(every_step_until, per_doubling, every)
    return list(takewhile(lambda step: step <= updates, steps))


def _endless_schedule(every_step_until: int, per_doubling: int, every: int | None) -> Iterator[int]:
    """The steps of `checkpoint_schedule` for training without an end."""
    yield from range(every_step_until + 1)
    last = every_step_until
    for number in count(1):
        step = round(max(every_step_until, 1) * 2 ** (number / per_doubling))
        if every is not None and step - last > every:
            yield from count((last // every + 1) * every, every)
        if step > last:
            yield step
            last = step


def segments(training: Config) -> list[tuple[int, int]]:
    """(start, stop) of the segments that training runs in, in updates: (0, s], (s, 2s], ..., a shorter last one.

    A segment is what it is by its start and stop alone, so that more updates leave the earlier ones as they are.
    """
    updates = training["updates"]
    length = training.get("segment_updates", updates)
    return [(start, min(start + length, updates)) for start in range(0, updates, length)]


def segment_checkpoints(training: Config, start: int, stop: int) -> list[int]:
    """Numbers of updates at which the segment (start, stop] saves the run; its last one always, 0 in the first one."""
    schedule = checkpoint_schedule(stop, **training["checkpoints"])
    return sorted({step for step in schedule if step > start or start == 0} | {stop})


def every_nth(steps: Sequence[int], n: int) -> list[int]:
    """The first of some ascending steps, every n-th from there on, and the last.

    Example:
        >>> every_nth([0, 1, 2, 4, 8, 11], 2)
        [0, 2, 8, 11]
    """
    return sorted({*steps[::n], *steps[-1:]})


def checkpoint_steps(training: Config) -> list[int]:
    """Numbers of updates at which a run is saved, over all of its segments."""
    return sorted({step for segment in segments(training) for step in segment_checkpoints(training, *segment)})
