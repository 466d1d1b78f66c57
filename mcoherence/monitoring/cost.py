"""What a monitor costs: seconds of measuring, and their share of the time since it was made."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Cost:
    """What a monitor has cost.

    measurements: how many there were; seconds: that they took, writing and logging included.
    share: of the time since the monitor was made, in [0, 1]; of a run that was resumed, of the time of all its parts.
    """

    measurements: int
    seconds: float
    share: float

    def __str__(self) -> str:
        return (
            f"{self.measurements} measurements, {self.seconds:.1f} s, {100 * self.share:.1f}% of the time since the "
            "monitor was made"
        )


class Clock:
    """Seconds of measuring and since the monitor was made, earlier parts of a resumed run included."""

    def __init__(self, seconds: float = 0.0, whole_seconds: float = 0.0) -> None:
        """Go on from the seconds of measuring, and of all, that a state holds."""
        self._measured, self._earlier = seconds, whole_seconds
        self._since = time.perf_counter()
        self._measuring_since: float | None = None

    @property
    def seconds(self) -> float:
        """Of measuring, the measurement that is under way included."""
        under_way = 0.0 if self._measuring_since is None else time.perf_counter() - self._measuring_since
        return self._measured + under_way

    @property
    def whole_seconds(self) -> float:
        """Since the monitor was made."""
        return self._earlier + time.perf_counter() - self._since

    def cost(self, measurements: int) -> Cost:
        """The cost of so many measurements."""
        whole, seconds = self.whole_seconds, self.seconds
        return Cost(measurements, seconds, seconds / whole if whole > 0 else 0.0)

    @contextmanager
    def measuring(self, devices: Collection[torch.device]) -> Iterator[None]:
        """Count the seconds of the block; not those of work that a GPU among the devices had to do before it."""
        for device in devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        self._measuring_since = time.perf_counter()
        try:
            yield
        finally:
            self._measured, self._measuring_since = self.seconds, None

    def __getstate__(self) -> dict[str, Any]:
        """What was counted; the time of this process means nothing in another."""
        return {"seconds": self._measured, "whole_seconds": self.whole_seconds}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # a copy goes on as from a saved state
