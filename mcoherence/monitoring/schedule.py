"""At which steps a monitor measures: every so many, at those of a list, or on the schedule of a study's checkpoints."""

import operator
from collections.abc import Collection, Mapping
from typing import Any

from mcoherence.errors import UserError
from mcoherence.study.segments import checkpoint_schedule

Every = int | Mapping[str, int] | Collection[int]
Setting = int | dict[str, int] | list[int]
_KEYS = {"every_step_until", "per_doubling", "every"}
_AHEAD = 1024  # steps of a schedule that are listed at once
EXPECTED = (
    "expected a number of steps, 1 or more, a list of steps, 0 or more each, or a schedule such as "
    '{"every_step_until": 1, "per_doubling": 4, "every": 1000}'
)


class MeasuringSteps:
    """Which steps are measured; a function of the step alone, so that ranks and resumed runs agree.

    setting: the setting in Python's own numbers.

    Example:
        >>> steps = MeasuringSteps({"every_step_until": 1, "per_doubling": 1, "every": 8})
        >>> [step for step in range(30) if step in steps]
        [0, 1, 2, 4, 8, 16, 24]
    """

    def __init__(self, every: Every) -> None:
        """Take the setting.

        Args:
            every: N: the multiples of N, 0 among them. A mapping: the schedule of `training.checkpoints` of a study's
                config, see `mcoherence.study.segments.checkpoint_schedule`. A collection: these steps. Numbers may be
                Python's or NumPy's.

        Raises:
            UserError: it is none of these.
        """
        self._every = 0
        self._schedule: dict[str, Any] = {}
        self._steps: frozenset[int] = frozenset()
        self._known_until = -1
        number = as_whole_number(every)
        if number is not None and number >= 1:
            self._every = number
        elif isinstance(every, Mapping):
            self._schedule = _checked(every)
        elif number is None and isinstance(every, Collection) and not isinstance(every, str | bytes):
            self._steps = _listed(every)
        else:
            raise UserError(f"every: found {every!r}, {EXPECTED}")
        self.setting: Setting = self._every or self._schedule or sorted(self._steps)

    def __contains__(self, step: int) -> bool:
        if self._every:
            return step % self._every == 0
        if self._schedule and step > self._known_until:
            # Whether a step belongs to the schedule does not depend on how far it is listed.
            self._known_until = 2 * step + _AHEAD
            self._steps = frozenset(checkpoint_schedule(self._known_until, **self._schedule))
        return step in self._steps


def as_whole_number(value: Any) -> int | None:
    """A whole number of Python, NumPy or torch as Python's; None for anything else, truth values among it."""
    kind = str(getattr(value, "dtype", type(value).__name__))
    if "bool" in kind or getattr(value, "ndim", 0) != 0:
        return None
    try:
        return int(operator.index(value))
    except TypeError:
        return None


def _listed(every: Collection[Any]) -> frozenset[int]:
    steps = [(value, as_whole_number(value)) for value in every]
    for value, step in steps:
        if step is None or step < 0:
            raise UserError(f"every: found {value!r} in a list of steps, {EXPECTED}")
    if not steps:
        raise UserError(f"every: found an empty list of steps, at which nothing is ever measured; {EXPECTED}")
    return frozenset(step for _, step in steps if step is not None)


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    needed = _KEYS - {"every"}
    if not needed <= settings.keys() <= _KEYS:
        raise UserError(f"every: found a schedule with the keys {sorted(map(str, settings))}, {EXPECTED}")
    least, checked = {"every_step_until": 0, "per_doubling": 1, "every": 1}, {}
    for key, value in settings.items():
        number = as_whole_number(value)
        if number is None or number < least[key]:
            raise UserError(f"every: found {key}: {value!r}, expected a whole number, {least[key]} or more")
        checked[key] = number
    return checked
