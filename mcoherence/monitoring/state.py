"""What a monitor has measured, and the state that it goes on from: numbers, strings, lists and dicts.

Index letters: G groups, P parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mcoherence.errors import UserError
from mcoherence.gradients.batch.evidence import Evidence
from mcoherence.measuring.record import CoherenceRecord
from mcoherence.monitoring.schedule import as_whole_number

STATE_VERSION = 1


@dataclass(frozen=True)
class MonitorMeasurement:
    """One measurement: its step, whether numbers were not finite, the sums (K = 1), and what was checked."""

    step: int
    diverged: bool
    record: CoherenceRecord
    evidence: Evidence


@dataclass(frozen=True)
class MonitorState:
    """All that it takes to go on in another process.

    sample: digest of the probe sample; groups: their names, None where there are none.
    measured: so far, by ascending step.
    seconds: that measuring took; whole_seconds: since the monitor was made.
    """

    sample: str
    groups: tuple[str, ...] | None
    measured: Sequence[MonitorMeasurement]
    seconds: float
    whole_seconds: float

    @property
    def parameters(self) -> tuple[str, ...] | None:
        """Names of the P parameters that were measured; None where nothing was."""
        return self.measured[0].record.parameters if self.measured else None

    def as_json(self) -> dict[str, Any]:
        """The state as JSON can hold it."""
        return {
            "version": STATE_VERSION,
            "sample": self.sample,
            "groups": None if self.groups is None else list(self.groups),
            "parameters": None if self.parameters is None else list(self.parameters),
            "measured": [
                {
                    "step": one.step,
                    "diverged": one.diverged,
                    "n": one.record.n[0].tolist(),
                    "sum_sq_norm": one.record.sum_sq_norm[0].tolist(),
                    "gram": one.record.gram[0].tolist(),
                    "evidence": one.evidence.as_json(),
                }
                for one in self.measured
            ],
            "seconds": self.seconds,
            "whole_seconds": self.whole_seconds,
        }

    @classmethod
    def from_json(cls, state: Any) -> "MonitorState":
        """The state again.

        Raises:
            UserError: it is none, of another version, or its steps do not ascend; one line.
        """
        try:
            if state["version"] != STATE_VERSION:
                raise UserError(
                    f"state: found version {state['version']!r} of a monitor's state, expected {STATE_VERSION}; load "
                    "it with the version of mcoherence that saved it"
                )
            found = cls(
                sample=str(state["sample"]),
                groups=None if state["groups"] is None else tuple(state["groups"]),
                measured=[_measured(one, tuple(state["parameters"])) for one in state["measured"]],
                seconds=float(state["seconds"]),
                whole_seconds=float(state["whole_seconds"]),
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UserError(
                f"state: no state of a monitor ({type(error).__name__}: {error}), expected what state_dict() returned"
            ) from error
        for before, after in pairwise(one.step for one in found.measured):
            if after <= before:
                raise UserError(
                    f"state: found step {after} after step {before}, expected steps that grow, as state_dict() returns "
                    "them; load the state as it was saved"
                )
        return found


def _measured(one: Mapping[str, Any], parameters: tuple[str, ...]) -> MonitorMeasurement:
    """A measurement out of a state."""
    step = as_whole_number(one["step"])
    if step is None or step < 0:
        raise ValueError(f"step {one['step']!r}")
    n, total, gram = (np.array(one[name]) for name in ("n", "sum_sq_norm", "gram"))
    groups = len(n)
    if total.shape != (groups, len(parameters)) or gram.shape != (groups, groups, len(parameters)):
        raise ValueError("sums of other shapes than its groups and parameters")
    record = CoherenceRecord(parameters, n[None].astype(np.int64), total[None].astype(float), gram[None].astype(float))
    return MonitorMeasurement(step, bool(one["diverged"]), record, Evidence.from_json(one["evidence"]))
