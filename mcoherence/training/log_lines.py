"""Lines of a training job's log, now and then: updates, loss, accuracy, examples per second, time left.

Nothing waits for them: the loss is of updates that have been read anyway, and the accuracy that of the last pass before
a line, over a mini-batch, or a group of one.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from mcoherence.files.progress import progress, time_in_words

OPERATIONAL = True  # no number depends on it; docs/reruns.md

SECONDS_BETWEEN_LINES = 30.0
RECENT = 100  # updates whose mean loss is told, at most


class LogLines:
    """Writes the lines of the updates from `first` to `stop`."""

    def __init__(
        self, first: int, stop: int, examples: int, where: str, losses: Callable[[], Any], leads: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Nothing is written yet.

        Args:
            first: number of updates before the first one.
            stop: number of updates after the last one.
            examples: of one update.
            where: the device, in words.
            losses: function that returns the losses that were read so far, a tensor [updates].
            leads: whether it is this process, of those that train together, that writes.
            clock: seconds.
        """
        self._first, self._stop, self._examples, self._losses = first, stop, examples, losses
        self._where, self._leads, self._clock = where, leads, clock
        self._began: float | None = None  # where lines are written
        self._at = first
        self._asked = False
        self._correct: Any = None

    def updates(self) -> Iterator[int]:
        """The numbers of the updates, in order; a terminal gets a bar in place of lines."""
        if not self._leads:
            yield from range(self._first, self._stop)
            return
        if sys.stderr.isatty():
            yield from progress(range(self._first, self._stop), self._stop - self._first, "train")
            return
        self._say(
            f"train: updates {self._first:,} to {self._stop:,} of {self._examples:,} examples each, on {self._where}"
        )
        self._began = self._clock()
        due = self._began + SECONDS_BETWEEN_LINES
        for update in range(self._first, self._stop):
            now, self._at = self._clock(), update
            if self._asked:
                self._tell()
                self._asked, due = False, now + SECONDS_BETWEEN_LINES
            # Of the update that follows, to be told before the one after it.
            self._asked = now >= due or update == self._stop - 1
            yield update
        self._at = self._stop

    def end(self) -> None:
        """Write the last line, once all losses are read."""
        if self._began is not None:
            self._tell()

    def see(self, logits: Any, labels: Any) -> None:
        """Look at outputs of a pass, a tensor [n, classes], with the labels [n], if a line is to follow."""
        if self._asked:
            with suppress(Exception):
                self._correct = logits.detach().argmax(1) == labels

    def _tell(self) -> None:
        done, updates = self._at - self._first, self._stop - self._first
        seconds = self._clock() - (self._began or 0.0)
        words = [f"train: {self._at:,}/{self._stop:,} ({done / max(updates, 1):.0%})"]
        recent = self._losses()[-RECENT:]
        if len(recent):
            words.append(f"loss {float(recent.mean()):.4g} (mean of {len(recent)} updates)")
        # Of outputs inside of torch.func there is none: it lets nothing out.
        with suppress(Exception):
            if self._correct is not None and len(self._correct):
                share = int(self._correct.sum()) / len(self._correct)
                words.append(f"accuracy {share:.1%} of the last {len(self._correct):,} examples")
        self._correct = None
        if done and seconds > 0:
            words.append(f"{done * self._examples / seconds:,.0f} examples/s")
            left = seconds * (updates - done) / done
            words.append(f"about {time_in_words(left)} left" if done < updates else f"{time_in_words(seconds)} in all")
        self._say(", ".join(words))

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
