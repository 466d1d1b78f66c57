"""At which steps a monitor measures: every so many, at those of a list, or on the schedule of a study's checkpoints."""

import operator
from collections.abc import Collection, Mapping
from typing import Any

from mcoherence.errors import UserError
from mcoherence.study.segments import checkpoint_schedule

Every = int | Mapping[str, int] | Collection[int]
_KEYS = {"every_step_until", "per_doubling", "every"}
_AHEAD = 1024  # steps of a schedule that are listed at once
EXPECTED = (
    "expected a number of steps, 1 or more, a list of steps, or a schedule such as "
    '{"every_step_until": 1, "per_doubling": 4, "every": 1000}'
)


class MeasuringSteps:
    """Which steps are measured; a function of the step alone, so that ranks and resumed runs agree.

    Example:
        >>> steps = MeasuringSteps({"every_step_until": 1, "per_doubling": 1, "every": 8})
        >>> [step for step in range(30) if step in steps]
        [0, 1, 2, 4, 8, 16, 24]
    """

    def __init__(self, every: Every) -> None:
        """Take the setting.

        Args:
            every: N: the multiples of N, 0 among them. A mapping: the schedule of `training.checkpoints` of a study's
                config, see `mcoherence.study.segments.checkpoint_schedule`. A collection: these steps.

        Raises:
            UserError: it is none of these.
        """
        self._every = 0
        self._settings: dict[str, Any] = {}
        self._steps: frozenset[int] = frozenset()
        self._known_until = -1
        if isinstance(every, Mapping):
            self._settings = _checked(every)
        elif isinstance(every, Collection) and not isinstance(every, str | bytes):
            self._steps = frozenset(map(operator.index, every))
        elif isinstance(every, int) and not isinstance(every, bool) and every >= 1:
            self._every = every
        else:
            raise UserError(f"every: found {every!r}, {EXPECTED}")

    def __contains__(self, step: int) -> bool:
        if self._every:
            return step % self._every == 0
        if self._settings and step > self._known_until:
            # Whether a step belongs to the schedule does not depend on how far it is listed.
            self._known_until = 2 * step + _AHEAD
            self._steps = frozenset(checkpoint_schedule(self._known_until, **self._settings))
        return step in self._steps


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    needed = _KEYS - {"every"}
    if not needed <= settings.keys() <= _KEYS:
        raise UserError(f"every: found a schedule with the keys {sorted(settings)}, {EXPECTED}")
    least = {"every_step_until": 0, "per_doubling": 1, "every": 1}
    for key, value in settings.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least[key]:
            raise UserError(f"every: found {key}: {value!r}, expected a whole number, {least[key]} or more")
    return dict(settings)
