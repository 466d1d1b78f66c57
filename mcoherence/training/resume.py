"""What survives a killed training job: checkpoints so far and recent states, beside the outputs.

Snakemake deletes the declared outputs of a failed job, so an unfinished segment lives in a folder of its own until it
is whole. The folder's name is a key made of settings, code and inputs: another key is another training, and is removed.
A record (JSON) with the SHA-256 of every file is written last, so that a state counts only if all that belongs to it
is on disk; two records are kept, so that damage to the newer one costs an interval and never a wrong result.
"""

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from mcoherence.errors import UserError
from mcoherence.files.atomic import atomic_path
from mcoherence.files.canonical import canonical_json
from mcoherence.files.digests import sha256_of, short_digest
from mcoherence.files.faults import REFUSALS
from mcoherence.files.json_csv import write_json
from mcoherence.training.state import TrainingState, read_state, write_state

LEAVE_STATUS = os.EX_TEMPFAIL  # 75: asked to leave, state kept; start the same command again
LEAVE_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
RECORDS_KEPT = 2
SHARE_OF_TIME = 0.02  # most of the wall time that may go into keeping states


def key_of(**parts: Any) -> str:
    """A name for all that decides a segment's bytes: settings, code, inputs, kind of device."""
    return short_digest(canonical_json(parts))


class Unfinished:
    """An unfinished segment on disk: `folder`/key/ with its checkpoints, states and records."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key
        self._digests: dict[str, str] = {}  # of the checkpoints that a record has named

    def checkpoint_path(self, step: int) -> Path:
        """Where the checkpoint of `step` waits until the segment is whole."""
        return self.folder / f"step{step}.safetensors"

    def keep(self, state: TrainingState) -> None:
        """Write the state and, last, the record that makes it count; forget all but the last two."""
        checkpoints = [path.name for path in self.folder.glob("step*.safetensors")]
        for name in set(checkpoints) - set(self._digests):
            self._digests[name] = sha256_of(self.folder / name)
        state_path = self.folder / f"state{state.update}.safetensors"
        write_state(state_path, state)
        files = {name: self._digests[name] for name in sorted(checkpoints)}
        files[state_path.name] = sha256_of(state_path)
        write_json(self.folder / f"record{state.update}.json", {"update": state.update, "files": files})
        for update in self._recorded_updates()[RECORDS_KEPT:]:
            (self.folder / f"record{update}.json").unlink()
            (self.folder / f"state{update}.safetensors").unlink(missing_ok=True)

    def latest(self) -> TrainingState | None:
        """The newest state whose files are all as they were written, or None; what is damaged is said on stderr."""
        for update in self._recorded_updates():
            try:
                record = json.loads((self.folder / f"record{update}.json").read_text(encoding="utf-8"))
                foreign = [name for name in record["files"] if not re.fullmatch(r"(step|state)\d+\.safetensors", name)]
                if foreign:
                    raise ValueError(f"{foreign[0]!r} is no file of an unfinished segment")
                damaged = [name for name, digest in record["files"].items() if sha256_of(self.folder / name) != digest]
                if damaged:
                    raise ValueError(f"{damaged[0]} is not as it was written")
                return read_state(self.folder / f"state{update}.safetensors")
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UserError) as error:
                _say(f"resume: the state after update {update} is damaged ({error}); falling back to an earlier one")
        return None

    def discard_others(self) -> None:
        """Remove what other settings, code or inputs left unfinished."""
        for other in self.folder.parent.glob("*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)

    def publish(self, targets: Mapping[int, Path]) -> None:
        """Put the checkpoint of each step where it is declared.

        They are linked, not moved: should the job die now, Snakemake deletes the declared ones.
        """
        for step, target in targets.items():
            with atomic_path(target) as temporary:
                try:
                    os.link(self.checkpoint_path(step), temporary)
                except OSError:  # a file system without hard links
                    shutil.copyfile(self.checkpoint_path(step), temporary)
                os.utime(temporary)  # an output must not look older than inputs that were made again meanwhile

    def remove(self) -> None:
        """Forget the unfinished segment: its outputs are whole."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)

    def _recorded_updates(self) -> list[int]:
        """Updates that have a record, newest first."""
        names = (path.stem.removeprefix("record") for path in self.folder.glob("record*.json"))
        return sorted((int(name) for name in names if name.isdigit()), reverse=True)


class Keeper:
    """Says when a state is due to be kept, and keeps it: at intervals, and at once when a signal asks to leave.

    Inside its `with` block SIGTERM, SIGUSR1 and SIGINT do not end the process: the next `keep` does, with LEAVE_STATUS.

    Args:
        keep: writes a state.
        seconds: between two states; more where writing one takes so long that it would cost over 2% of the time.
        agree: makes one flag of those of several ranks, so that all leave together.
    """

    def __init__(
        self, keep: Callable[[TrainingState], None], seconds: float, agree: Callable[[bool], bool] = bool
    ) -> None:
        self._write, self._seconds, self._agree = keep, seconds, agree
        self._next = time.monotonic() + seconds
        self._leaving = False
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Keeper":
        for number in LEAVE_SIGNALS:
            self._handlers[number] = signal.signal(number, self._leave)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        self._leaving = True

    @property
    def due(self) -> bool:
        """Whether a state should be kept now."""
        return self._leaving or time.monotonic() >= self._next

    def keep(self, state: TrainingState) -> None:
        """Keep the state; leave if asked to. A full disk costs this state, not the training.

        Raises:
            SystemExit: with LEAVE_STATUS, after a signal.
        """
        started, kept = time.monotonic(), True
        try:
            self._write(state)
        except OSError as error:
            kept = False
            _say(f"resume: the state after update {state.update} could not be kept ({error}); training goes on")
        if self._agree(self._leaving):
            if kept:
                _say(f"asked to leave: kept the state after update {state.update}; start again to go on from there")
            else:
                _say("asked to leave: start again to go on from the last state that was kept")
            raise SystemExit(LEAVE_STATUS)
        now = time.monotonic()
        self._next = now + max(self._seconds, (now - started) / SHARE_OF_TIME)


@contextmanager
def writing_below(folder: Path) -> Iterator[None]:
    """Turns a failure to write, such as a full disk, into one line.

    Raises:
        UserError: naming the folder and what the system said.
    """
    try:
        yield
    except OSError as error:
        way_out = REFUSALS.get(error.errno or 0, "expected that it can be; make room and run again")
        raise UserError(
            f"{folder}: could not be written ({error.strerror}), {way_out}; training goes on from the last state that "
            "was kept"
        ) from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
