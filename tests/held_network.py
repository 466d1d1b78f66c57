"""An MLP whose training can be held at a known point, so that what disturbs it comes neither too early nor too late.

A file `hold` in the job's working directory says where. A trainer that finds it stops there, says so in a file `held`,
and goes on when a signal asks it to leave, and only then: it can be killed, or leave, but never finish. Of several
ranks one is held, the first to say so: one that came after the signal would wait for another. A trainer that finds no
`hold` trains as any other. The numbers are the same.
"""

import json
import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from torch import Tensor, nn

HOLD, HELD = "hold", "held"  # the latter holds the number of the process
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SECONDS_BETWEEN_UPDATES = 0.01  # until it is held, so that a state is due long before the last update


def mlp(input_shape: tuple[int, int, int], num_classes: int, hidden: int = 32) -> nn.Module:
    """The network, as the workflow asks for one."""
    inputs = math.prod(input_shape)
    return HeldNetwork(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))


class HeldNetwork(nn.Sequential):
    """Layers in a row; before them the hold."""

    updates = 0  # of this process
    records: set[Path] | None = None  # of states that were there before them
    kept: frozenset[Path] = frozenset()  # records of states that this process has kept

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [n, classes] of inputs [n, C, H, W]."""
        if self.training:
            with suppress(FileNotFoundError):  # nobody is to be held, or no more
                self.hold(**json.loads(Path(HOLD).read_text()))
        return super().forward(inputs)

    def hold(self, updates: int | None = None, states: int | None = None, folder: str = "") -> None:
        """Wait for a signal after so many updates, or once this process has kept so many states in the folder."""
        if updates is not None:
            if self.updates == updates:
                wait_for_a_signal()
            self.updates += 1
            return
        records = set(Path(folder).glob("unfinished/*/record*.json"))
        if self.records is None:
            self.records = records
        self.kept |= records - self.records
        if len(self.kept) >= states:
            wait_for_a_signal()
        else:
            time.sleep(SECONDS_BETWEEN_UPDATES)


def wait_for_a_signal() -> None:
    """Return once a signal asks to leave, which is passed on to whom it is meant for; at once if another is held."""
    came = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number, frame):
        came.append(number)
        handlers[number](number, frame)

    for number in SIGNALS:
        signal.signal(number, note)
    own = Path(f"{HELD}.{os.getpid()}")
    own.write_text(str(os.getpid()))
    with suppress(FileExistsError):
        os.link(own, HELD)
        while not came:
            time.sleep(0.01)
    own.unlink()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def hold(job: Path, **where: int | str) -> None:
    """Have the trainers that will start in the folder `job` held where `HeldNetwork.hold` says."""
    (job / HELD).unlink(missing_ok=True)
    (job / HOLD).write_text(json.dumps(where))


def wait_until_held(job: Path, running: Callable[[], bool], said: Callable[[], str]) -> int:
    """Wait until a trainer in the folder `job` is held, and hold no other; returns the number of its process."""
    wait_while_running((job / HELD).exists, running, said)
    (job / HOLD).unlink()
    return int((job / HELD).read_text())


def wait_while_running(condition: Callable[[], object], running: Callable[[], bool], said: Callable[[], str]) -> None:
    """Wait until the condition holds; AssertionError with what was `said` where what runs has ended before."""
    deadline = time.monotonic() + 600  # seconds after which something hangs
    while not condition():
        assert running(), said()
        assert time.monotonic() < deadline, said()
        time.sleep(0.01)
