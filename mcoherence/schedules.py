"""The learning rate as a function of the updates made so far. Stand-in until the branch w-optim is merged."""

from collections.abc import Mapping
from typing import Any


def learning_rate(settings: Mapping[str, Any], update: int) -> float:
    """The rate of the update that follows `update` updates: constant."""
    del update
    return float(settings["lr"])


def parts_of_update(settings: Mapping[str, Any]) -> tuple[int, int]:
    """(mini-batches per update, groups that each is split into) of an optimiser's settings."""
    return (1, settings.get("groups", 3)) if settings["method"] == "m3" else (1, 1)
