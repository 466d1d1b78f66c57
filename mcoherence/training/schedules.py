"""The learning rate of every update, from the settings of an optimiser.

Everything is counted in updates, so that optimisers whose epochs have fewer updates follow the same schedule.
"""

import math
from collections.abc import Mapping
from typing import Any

Settings = Mapping[str, Any]


def learning_rate(settings: Settings, update: int) -> float:
    """The learning rate of the update that follows after `update` updates.

    Args:
        settings: of an optimiser: {"lr": rate, "schedule": {"kind": ..., ...}}; without a schedule it is constant.
            "constant"  lr
            "step"      lr * factor ** (number of milestones reached, that is <= update)
            "cosine"    final + (lr - final) * (1 + cos(pi * update / updates)) / 2, and `final` from `updates` on
            Any of them may have "warmup": {"updates": count, "start": rate}: over the first `count` updates the rate
            rises linearly from `start` to where the schedule is at `count` (Goyal et al., arXiv 1706.02677, 2.2).
        update: number of updates made so far; 0 before the first.
    """
    schedule = settings.get("schedule", {"kind": "constant"})
    warmup = schedule.get("warmup")
    if warmup is None or update >= warmup["updates"]:
        return _scheduled(settings["lr"], schedule, update)
    reached = _scheduled(settings["lr"], schedule, warmup["updates"])
    return float(warmup["start"] + (reached - warmup["start"]) * update / warmup["updates"])


def _scheduled(lr: float, schedule: Settings, update: int) -> float:
    """The rate without warm-up."""
    if schedule["kind"] == "step":
        reached = sum(milestone <= update for milestone in schedule["milestones"])
        return float(lr * schedule["factor"] ** reached)
    if schedule["kind"] == "cosine":
        share = min(update / schedule["updates"], 1.0)
        final = schedule["final"]
        return float(final + (lr - final) * (1 + math.cos(math.pi * share)) / 2)
    return lr
