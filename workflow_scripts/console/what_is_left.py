"""What is left of a run, in words: how much of the work is done, and how long the rest will take.

A run is worth more than a word about it, so that what goes wrong here leaves the word out.
"""

import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, TypeVar

from mcoherence.audit.time_left import TimeLeft, left_in_words
from workflow_scripts.console.jobs import Seconds, ask_plan, planned_jobs

T = TypeVar("T")
SHARE_OF_TIME = 0.02  # that reckoning what is left may take, at most


class WhatIsLeft:
    """Of one run, whose jobs are told of by their numbers.

    Args:
        clock: seconds since any moment.
        lock: held while this object is used; the plan's answer takes it in a thread of its own.
    """

    def __init__(self, clock: Callable[[], float], lock: AbstractContextManager[Any]) -> None:
        self._clock, self._lock = clock, lock
        self._jobs: TimeLeft | None = None
        self._of_runs: dict[int, tuple[str, str]] = {}
        self._ask: Callable[[], subprocess.Popen[str]] | None = None
        self._plan: subprocess.Popen[str] | None = None
        self._has_plan = False
        self._words = ""
        self._words_until = 0.0  # when they are to be found again

    def begin(self, dag: Any, config: str, base: Path, there_is: Mapping[str, float], gpus: bool, ranks: int) -> None:
        """Know the jobs that are about to run; the arguments are those of `handler.Console.begin`."""
        with suppress(Exception):
            jobs, self._of_runs = planned_jobs(dag, gpus, ranks)
            self._jobs = TimeLeft(jobs, there_is)
            if self._of_runs:
                self._ask = lambda: ask_plan(base, config, self._hear_plan)
            else:
                self._has_plan = True

    def ask_plan(self) -> None:
        """Ask once; without an answer the time left is told from what jobs took."""
        ask, self._ask = self._ask, None
        if ask is not None:
            with suppress(Exception):
                self._plan = ask()

    def stop(self) -> None:
        """Wait for no answer of the plan any more."""
        with suppress(Exception):
            if self._plan is not None and self._plan.poll() is None:
                self._plan.terminate()

    def start(self, number: int) -> None:
        """A job has started."""
        self._unless_faulty(lambda jobs: jobs.start(number, self._clock()))

    def end(self, number: int) -> None:
        """A job has ended well."""
        self._unless_faulty(lambda jobs: jobs.end(number, self._clock()))

    def fail(self, number: int) -> None:
        """A job has failed."""
        self._unless_faulty(lambda jobs: jobs.fail(number))

    def not_to_run(self) -> int:
        """How many jobs wait for some that failed."""
        return self._unless_faulty(lambda jobs: jobs.not_to_run()) or 0

    def words(self, done: int, total: int) -> str:
        """The share of the work and the time left, such as "12 % of the work done, 5 min left".

        Args:
            done: number of jobs that have ended, told while nothing is known of what jobs take.
            total: number of all jobs.
        """
        now = self._clock()
        if now < self._words_until:
            return self._words
        left = None if self._waits_for_plan() else self._unless_faulty(lambda jobs: jobs.left(now))
        if left is None or not (self._has_plan or left.measured):
            self._words = f"{done} of {total} jobs done"
        else:
            self._words = f"{min(int(100 * left.share), 99)} % of the work done, {left_in_words(left)}"
        self._words_until = now + max(1.0, (self._clock() - now) / SHARE_OF_TIME)
        return self._words

    def _unless_faulty(self, what: Callable[[TimeLeft], T]) -> T | None:
        """Tell or ask of the jobs; None where they are not known, as from the first fault on."""
        if self._jobs is None:
            return None
        try:
            return what(self._jobs)
        except Exception:
            self._jobs = None
            return None

    def _waits_for_plan(self) -> bool:
        """Whether the plan may still say what jobs take that train or measure; until then nothing tells it."""
        asked = self._plan is not None and self._plan.poll() is None
        return not self._has_plan and (self._ask is not None or asked)

    def _hear_plan(self, seconds: Seconds) -> None:
        of_runs = self._of_runs.items()
        planned = {n: of[run] for n, (what, run) in of_runs if run in (of := seconds.get(what, {}))}
        with self._lock:
            self._unless_faulty(lambda jobs: jobs.plan(planned))
            self._has_plan = True
            self._words_until = 0.0
