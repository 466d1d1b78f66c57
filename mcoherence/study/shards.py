"""Batches and shards of the examples that a job evaluates or measures; light, as the plan reads it too."""

from dataclasses import dataclass

EVALUATED_BATCH = 1024  # examples that are evaluated at a time, the least that a shard of an evaluation has
MEASURED_BATCH = 256  # examples whose gradients are measured at a time


@dataclass(frozen=True)
class Shard:
    """Which share of the examples a job takes: number `number` (from 0) of `count`; by default all of them."""

    number: int = 0
    count: int = 1

    def rows(self, size: int) -> slice:
        """Which of `size` things are in it: neighbours, as evenly as can be."""
        return slice(size * self.number // self.count, size * (self.number + 1) // self.count)
