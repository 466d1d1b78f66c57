"""The handler that shows a run: what Snakemake tells of jobs becomes lines, one for each that ends.

On a terminal a last line says how much is done, how long the rest will take and what runs; in a file such a line is
written now and then. What is no word about jobs is passed on as Snakemake writes it, but for its own housekeeping.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcoherence.files.progress import time_in_words
from workflow_scripts.console.failures import SAID_BY_US, Failures, jobs_in_words, message_of, silence
from workflow_scripts.console.screen import Screen
from workflow_scripts.console.what_is_left import WhatIsLeft
from workflow_scripts.console.words_of_snakemake import (
    AT_THE_END,
    COMPLETE_LOG,
    HOUSEKEEPING,
    LAST_WORDS,
    OF_A_GROUP,
    PLANNING,
    POINTLESS,
    STOPPING,
    SUBMITTED,
    TRIED_AGAIN,
    UNTOLD,
)

SNAKEMAKE = "snakemake.logging"  # its logger
SNAKEMAKES_OWN = "DefaultStreamHandler"
VERBS = ("train", "evaluate", "measure", "tabulate", "draw")  # of jobs, counted at the start; the others are few
QUIET_ABOUT_NOTHING_SHOWN = {"host", "reason"}
SECONDS_BETWEEN_LINES = 30.0  # of a file, at first; a tenth of what has passed later on
MOST_SECONDS_BETWEEN_LINES = 600.0
CLOCKS_DIFFER = 60.0  # seconds, of machines that write to one file system
SECONDS_BEFORE_ASKING = 15.0  # the plan, where a file is written: a shorter run tells nothing of what is left


@dataclass
class _Running:
    text: str
    since: float


@dataclass
class _State:
    """Of a run: what is told at its end."""

    total: int = 0
    done: int = 0
    running: dict[int, _Running] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    failed: Failures = field(default_factory=Failures)
    stopping: bool = False  # as the user asked


class Console(logging.Handler):
    """Shows a run in place of Snakemake's own handler, which it falls back upon."""

    def __init__(self, own: logging.StreamHandler[Any], logger: logging.Logger, clock: Callable[[], float]) -> None:
        super().__init__()
        self._own, self._logger, self._clock = own, logger, clock
        self._screen = Screen(own.stream)
        self._state = _State()
        assert self.lock is not None  # made above
        self._left = WhatIsLeft(clock, self.lock)
        self._began = self._last_status = clock()  # of a file
        self._run_began = time.time() - CLOCKS_DIFFER
        self._at_work = "running"
        self._said_of_groups: dict[str, str] = {}
        self._over = threading.Event()

    def begin(
        self, dag: Any, config: str, base: Path, there_is: Mapping[str, float], gpus: bool, ranks: int, queued: bool
    ) -> None:
        """Show what is left from now on; what goes wrong here leaves that out.

        Args:
            dag: Snakemake's, of the jobs that are about to run.
            config: of the study, as JSON.
            base: folder of the workflow.
            there_is: how much of each resource.
            gpus: whether jobs that train or measure take a GPU each.
            ranks: processes of a training.
            queued: whether jobs wait in the queue of a cluster before they run.
        """
        self._at_work = "queued or running" if queued else "running"
        self.acquire()
        try:
            self._left.begin(dag, config, base, there_is, gpus, ranks)
            if self._screen.is_terminal:
                self._left.ask_plan()
        finally:
            self.release()
        threading.Thread(target=self._keep_fresh, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Show what a record says; after a fault of this handler Snakemake's own does."""
        try:
            self._show(record)
        except BrokenPipeError:  # nobody reads on; Snakemake's own would end the run
            self._logger.removeHandler(self)
        except Exception as error:  # a study is worth more than how it looks
            self._fall_back(error)
            self._own.handle(record)

    def close(self) -> None:
        """Take away the line that changes."""
        self.end()
        super().close()

    def end(self) -> None:
        """Write no more of what is left, so that others can write below."""
        self._over.set()
        self.acquire()
        try:
            self._left.stop()
            with suppress(Exception):
                self._screen.status("")
        finally:
            self.release()

    def _fall_back(self, error: Exception) -> None:
        self.end()
        self._logger.removeHandler(self)
        self._logger.addHandler(self._own)
        with suppress(Exception):
            self._screen.line(f"The display of the run has a fault ({error!r}); Snakemake's own goes on.")

    def _show(self, record: logging.LogRecord) -> None:
        event = str(getattr(record, "event", None) or "")
        if event in UNTOLD:
            return
        told = {
            "run_info": self._run_info,
            "job_info": self._job_info,
            "group_info": lambda _: None,
            "job_finished": self._job_finished,
            "job_error": self._job_error,
            "group_error": self._group_error,
        }.get(event)
        if told is not None:
            told(record)
        else:
            self._message(record)
        if self._screen.is_terminal and not self._over.is_set():
            self._screen.status(self._status_line())

    def _message(self, record: logging.LogRecord) -> None:
        text = str(record.msg or "")
        if text.startswith(PLANNING):
            self._line("Finding out which jobs are to run ...")
        elif match := TRIED_AGAIN.match(text):
            self._tried_again(int(match[1]))
        elif match := SUBMITTED.match(text):
            number = int(match[1]) if match[1].isdigit() else -1
            self._line(f"SLURM jobid {match[2]}: {self._state.texts.get(number, 'a group of jobs')}")
        elif AT_THE_END.match(text) and self._state.failed:
            self._sum_up_failures()
        elif said := next((said for beginning, said in STOPPING.items() if text.startswith(beginning)), None):
            if not self._state.stopping:  # once
                self._line(said)
            self._state.stopping = True
        elif COMPLETE_LOG.match(text):
            self._last_words(text)
        elif match := OF_A_GROUP.match(text):
            self._said_of_groups[match[1]] = match[2]
            self._pass_on(record)
        elif not (HOUSEKEEPING.match(text) or (LAST_WORDS.match(text) and self._ended_otherwise())):
            self._pass_on(record)

    def _ended_otherwise(self) -> bool:
        """Whether it is told already that the run did not come to its end."""
        return bool(self._state.failed) or self._state.stopping

    def _last_words(self, of_log: str) -> None:
        """Of a run that came to its end the workflow has the last word."""
        self.end()
        if self._ended_otherwise():
            self._line(of_log)
        if self._state.stopping:
            self._line("Stopped. Start again to go on: what is done stays done.")

    def _pass_on(self, record: logging.LogRecord) -> None:
        """A record in Snakemake's own words and colours, where it would say it."""
        if not self._own.filter(record):
            return
        text = self._own.format(record)
        if text and text != "None":
            decorate: Callable[[Any, str], str] = getattr(self._own, "decorate", lambda _, undecorated: undecorated)
            self._screen.line(decorate(record, text))

    def _run_info(self, record: Any) -> None:
        stats = dict(getattr(record, "stats", {}))
        self._state.total = int(stats.pop("total", 0))
        verbs: Counter[str] = Counter()
        for rule, count in stats.items():
            verbs[rule.partition("_")[0]] += count
        told = {verb: verbs[verb] for verb in VERBS if verbs[verb]}
        others = self._state.total - sum(told.values())
        words = [f"{count:,} {verb}" for verb, count in told.items()] + [f"{others:,} others"] * bool(told and others)
        self._line(f"{jobs_in_words(self._state.total)}{': ' if words else ''}{', '.join(words)}")

    def _job_info(self, record: Any) -> None:
        number, now = int(record.jobid), self._clock()
        text = " ".join(str(record.rule_msg or record.rule_name).split())
        self._state.texts[number] = text
        self._state.running[number] = _Running(text, now)
        self._left.start(number)

    def _job_finished(self, record: Any) -> None:
        number, now = int(record.job_id), self._clock()
        self._state.done += 1
        self._left.end(number)
        running = self._state.running.pop(number, None)
        if running is not None:
            self._line(f"{self._count()} {running.text} ({time_in_words(now - running.since)})")

    def _job_error(self, record: Any) -> None:
        number = int(record.jobid)
        text = self._gone(number)
        if not getattr(record, "indent", False):  # else it is one of a group, which was told
            self._failed(number, text, list(record.log), str(record.rule_msg or ""))

    def _group_error(self, record: Any) -> None:
        """Of a group those of its jobs failed whose logs say why; where none does, the group itself."""
        logs = {int(job["jobid"]): list(job["log"]) for job in record.job_error_info}
        auxiliary = [str(log) for log in record.aux_logs]
        with_reason = [
            number for number, own in logs.items() if message_of(own, self._run_began)[0].startswith(SAID_BY_US)
        ]
        for number in logs.keys() - set(with_reason):
            self._gone(number)
        for number in with_reason:
            self._failed(number, self._gone(number), [*logs[number], *auxiliary], "")
        if logs and not with_reason:
            name, number = str(record.groupid), next(iter(logs))
            self._failed(
                number, f"{jobs_in_words(len(logs))} of the group {name}", auxiliary, self._said_of_groups.get(name, "")
            )

    def _gone(self, number: int) -> str:
        """Take down that a job ended, and not well; returns what it was."""
        running = self._state.running.pop(number, None)
        self._left.fail(number)
        text = self._state.texts.get(number, f"job {number}")
        return text if running is None else f"{text} ({time_in_words(self._clock() - running.since)})"

    def _failed(self, number: int, text: str, logs: list[str], executor_says: str) -> None:
        """Tell of a job that failed: in full where none failed for an equal reason before."""
        if self._state.stopping:
            self._line(f"Stopped: {text}")
            return
        message, log = message_of(logs, self._run_began)
        said = " ".join(POINTLESS.sub("", executor_says).split())
        whole = " - ".join(part for part in (message, said) if part) or silence(next(iter(logs), None))
        if self._state.failed.add(number, whole):
            self._line(f"FAILED: {text}\n    {whole}\n    log: {log or next(iter(logs), 'none')}")
        else:
            self._line(f"FAILED for a reason told above: {text}")

    def _tried_again(self, number: int) -> None:
        if self._state.stopping:  # Snakemake says so, but ends
            return
        self._state.failed.take_back(number)
        self._line(f"It is tried again: {self._state.texts.get(number, f'job {number}')}")

    def _sum_up_failures(self) -> None:
        failed, waiting = self._state.failed, self._left.not_to_run()
        self.end()
        more = f", and for want of what they make {jobs_in_words(waiting)} did not run" if waiting else ""
        lines = [f"{jobs_in_words(len(failed))} failed{more}:", *failed.lines()]
        lines += ["Mend what the messages say, and start again: what is done stays done."]
        self._line("\n".join(lines))

    def _count(self) -> str:
        width = len(str(self._state.total))
        return f"[{self._state.done:{width}d}/{self._state.total}]"

    def _line(self, text: str) -> None:
        self._screen.line(text if self._screen.is_terminal else f"{time.strftime('%H:%M:%S')} {text}")

    def _status_line(self) -> str:
        """How much is done, what is left and what runs; "" before anything does, and of a single job."""
        if self._state.total < 2 or not (self._state.done or self._state.running):
            return ""
        return f"{self._left.words(self._state.done, self._state.total)}; {self._what_runs()}"

    def _what_runs(self) -> str:
        running = self._state.running.values()
        if not running:
            return "no job runs"
        oldest = min(running, key=lambda one: one.since)
        since = time_in_words(self._clock() - oldest.since)
        return f"{jobs_in_words(len(running))} {self._at_work}, the longest for {since}: {oldest.text}"

    def _keep_fresh(self) -> None:
        """Until the run is over, write the line that changes every second; in a file now and then another one."""
        while not self._over.wait(1.0):
            self.acquire()
            try:
                if self._over.is_set():
                    return
                if self._screen.is_terminal:
                    self._screen.status(self._status_line())
                else:
                    now = self._clock()
                    if now - self._began >= SECONDS_BEFORE_ASKING:
                        self._left.ask_plan()
                    pause = max(SECONDS_BETWEEN_LINES, min((now - self._began) / 10, MOST_SECONDS_BETWEEN_LINES))
                    if now - self._last_status >= pause and (status := self._status_line()):
                        self._last_status = now
                        self._line(status)
            except BrokenPipeError:
                return  # and the next record is told to nobody
            except Exception as error:
                self._fall_back(error)
                return
            finally:
                self.release()


def install(asked: Any) -> Console | None:
    """Show the run by a `Console`, and return it; None where Snakemake's own words were asked for, or another logger.

    Args:
        asked: Snakemake's settings of its output.
    """
    logger = logging.getLogger(SNAKEMAKE)
    quiet = {str(one).rpartition(".")[2].lower() for one in getattr(asked, "quiet", None) or ()}
    more = any(getattr(asked, name, False) for name in ("dryrun", "verbose", "printshellcmds", "debug_dag"))
    own = next((handler for handler in logger.handlers if handler.name == SNAKEMAKES_OWN), None)
    if more or not quiet <= QUIET_ABOUT_NOTHING_SHOWN or not isinstance(own, logging.StreamHandler):
        return None
    console = Console(own, logger, time.monotonic)
    logger.removeHandler(own)
    logger.addHandler(console)
    return console
